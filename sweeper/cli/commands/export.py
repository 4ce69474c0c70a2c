"""``isorate export``: a cell's checkpoint as a directory that vLLM and transformers load."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from sweeper.cli.commands import logs
from sweeper.cli.request import Request
from sweeper.errors import BadInput
from sweeper.results import formatting, outcomes
from sweeper.results.mlflow import registry
from sweeper.store import files, process_id
from sweeper.store.spec import Spec
from sweeper.worker import rebuild
from sweeper.worker.runner import Bench

_SAID_EVERY_S = 10.0

log = logging.getLogger(__name__)


def perform(request: Request) -> int:
    """Copy the checkpoint of the cell that `cell` names to the new directory `to`; `register` it.

    A checkpoint that was dropped is built again first, here and now, and dropped again after.
    """
    outcome = logs.cell(request)
    target, name = _target(request.config.to), request.config.register
    if name is not None:
        registry.check(str(name))
    record = request.sweep.load()
    spec = _checkpoint(record["stages"], outcome)
    label = str(outcome.cell["label"])
    if said := announcement(label, rebuild.missing(spec, request.store)):
        log.info("%s", said)
    bench = Bench(progress=_Pace(label).said)
    with rebuild.at_hand(spec, request.store, keep=record["checkpoints"], bench=bench) as output:
        _copy(output / "checkpoint", target)
    document, text = {"cell": label, "to": str(target)}, f"{label}: {target}"
    if name is not None:
        document["registered"] = registry.register(
            target,
            str(name),
            outcome.key,
            sweep=request.sweep.name,
            home=request.home,
            uri=request.config.tracking.uri,
        )
        text += f"\nMLflow: {document['registered']}"
    request.answer(document, text)
    return 0


def announcement(label: str, missing: rebuild.Missing) -> str:
    """What is built before the copy and how long that took the last time; "" if nothing is."""
    if not missing.stages:
        return ""
    kinds = ", ".join(str(spec["kind"]) for spec in missing.stages)
    took = "" if missing.seconds is None else f", about {formatting.duration(missing.seconds)}"
    return f"{label}: its checkpoint is not on disk; building it for this export: {kinds}{took}"


class _Pace:
    """Says from time to time how far the building is."""

    def __init__(self, label: str) -> None:
        self._label, self._last = label, time.monotonic()

    def said(self, fraction: float, note: str = "") -> None:
        """A stage's own account; most of them are too frequent for a person."""
        if time.monotonic() - self._last >= _SAID_EVERY_S:
            self._last = time.monotonic()
            log.info("%s", f"{self._label}: {fraction:.0%} {note}".rstrip())


def _copy(checkpoint: Path, target: Path) -> None:
    """All of it under its name, or nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{process_id.new_id()}")
    try:
        shutil.copytree(checkpoint, aside)
        aside.rename(target)
    finally:
        files.remove(aside)


def _target(to: str | None) -> Path:
    if to is None:
        raise BadInput("to", to, "the directory to write is needed.", "For example: to=./exported")
    target = Path(to).expanduser().absolute()
    if target.exists():
        raise BadInput("to", to, "it exists already.", "Name a new directory.")
    return target


def _checkpoint(stages: Mapping[str, Spec], outcome: outcomes.CellOutcome) -> Spec:
    measure = stages[outcome.cell["stages"]["measure"]]
    if "model" not in measure["parents"]:
        raise BadInput(
            "cell",
            outcome.cell["label"],
            "this is the model as it is:",
            measure["sources"]["model"],
        )
    return measure["parents"]["model"]
