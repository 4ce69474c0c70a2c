"""Carry out one stage: make sure of its inputs, run it, commit what it wrote.

The only place where stages and the store meet. Whoever runs it (a process of the
local launcher, a SLURM job, a test) needs nothing but the stage's JSON and the home.
"""

from __future__ import annotations

import importlib
import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeper.errors import IsorateError, StageFailure
from sweeper.inputs import sources
from sweeper.modeling import kernels
from sweeper.redaction import redact
from sweeper.stages import Job
from sweeper.store.manifest import Facts, Failure
from sweeper.store.progress import Recorder
from sweeper.store.store import Attempt, Spec, Store
from sweeper.worker.metering import Meter

Run = Callable[[Job], Any]

log = logging.getLogger(__name__)


def find_stage(kind: str, package: str = "sweeper.stages") -> Run:
    """The ``run`` function of the module that implements a kind of stage."""
    run: Run = importlib.import_module(f"{package}.{kind}").run
    return run


def _silent(fraction: float, note: str = "") -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What an attempt is carried out with; the same for all stages of a process.

    Attributes:
        find: kind of stage -> its run function.
        device: "cpu" or "cuda".
        progress: told the fraction that is done and a note, as often as a stage says it.
        facts: asked when an attempt ends: where it ran (a SLURM job, say); kept in the manifest.
    """

    find: Callable[[str], Run] = field(default=find_stage)
    device: str = "cpu"
    progress: Callable[..., None] = _silent
    facts: Callable[[], Facts] = Facts


def run_stage(spec: Spec, store: Store, bench: Bench | None = None, *, bulk: bool = False) -> None:
    """Bring the output of a stage into the store, and of its parents where they lack.

    Nothing is done if it is there, sound, and (with ``bulk``) undropped.

    Raises:
        StageFailure: the cell is at fault; recorded in the store.
        IsorateError: a parent failed or an input is missing.
        Exception: whatever else ended the attempt; nothing of it stays visible.
    """
    bench = bench or Bench()
    store.look_again(spec)
    if store.present(spec, bulk=bulk):
        return
    if known := store.failure(spec):
        raise StageFailure(f"{known['message']} (failed before; `isorate retry` clears it)")
    kernels.choose([spec])
    parents = spec.get("parents", {})
    inputs = {role: _input(parent, store, bench) for role, parent in parents.items()}
    resolved = sources.resolve(spec)
    with store.attempt(spec) as attempt:
        meter = Meter(bench.device)
        job = Job(
            params=spec["params"],
            inputs=inputs,
            sources=resolved,
            out=attempt.out,
            scratch=store.scratch(spec),
            kin=store.kin(spec),
            device=bench.device,
            progress=Recorder(attempt.place, bench.progress),
        )
        try:
            run = bench.find(spec["kind"])
            kernels.hold()
            result = run(job)
        except StageFailure as failure:
            store.fail(attempt, {**bench.facts(), **_failure(attempt, failure, meter)})
            raise
        # the work lets other sweeps estimate their time from this one's
        facts: Facts = {**bench.facts(), **meter.facts()}
        if work := spec.get("work"):
            facts["work"] = work
        store.commit(attempt, result, facts)


def _input(parent: Spec, store: Store, bench: Bench) -> Path:
    """The output of a parent with all its bulk, every byte checked, built again if need be."""
    store.look_again(parent)
    if not store.present(parent, bulk=True, full=True):
        log.warning("%s %s is not here (any more): building it first", *name(parent))
        try:
            run_stage(parent, store, bench, bulk=True)
        except StageFailure as failure:
            raise IsorateError(f"its {parent['kind']} stage failed: {failure}") from failure
    return store.path(parent)


def name(spec: Spec) -> tuple[str, str]:
    """Kind and label (or key) of a stage, for messages."""
    return spec["kind"], spec.get("label") or spec["key"]


def _failure(attempt: Attempt, error: StageFailure, meter: Meter) -> Failure:
    return {
        **meter.facts(),
        "kind": attempt.spec["kind"],
        "key": attempt.spec["key"],
        "label": attempt.spec.get("label", ""),
        "error": type(error).__name__,
        "message": redact(str(error)),
        "traceback": redact("".join(traceback.format_exception(error))),
    }
