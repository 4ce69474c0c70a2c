"""``isorate export``: a cell's checkpoint as a directory that vLLM and transformers load."""

from __future__ import annotations

import shutil
from pathlib import Path

from sweeper.cli.commands import logs
from sweeper.cli.request import Request
from sweeper.errors import BadInput
from sweeper.results import outcomes
from sweeper.worker.runner import run_stage


def perform(request: Request) -> int:
    """Copy the checkpoint of the cell that `cell` names to the new directory `to`.

    A checkpoint that was dropped is built again first, here and now.
    """
    outcome = logs.cell(request)
    target = _target(request.config.to)
    spec = _checkpoint(request, outcome)
    run_stage(spec, request.store, bulk=True)
    shutil.copytree(request.store.path(spec) / "checkpoint", target)
    request.answer(
        {"cell": outcome.cell["label"], "to": str(target)},
        f"{outcome.cell['label']}: {target}",
    )
    return 0


def _target(to: str | None) -> Path:
    if to is None:
        raise BadInput("to", to, "the directory to write is needed.", "For example: to=./exported")
    target = Path(to).expanduser().absolute()
    if target.exists():
        raise BadInput("to", to, "it exists already.", "Name a new directory.")
    return target


def _checkpoint(request: Request, outcome: outcomes.CellOutcome) -> outcomes.Spec:
    stages = request.sweep.load()["stages"]
    measure: outcomes.Spec = stages[outcome.cell["stages"]["measure"]]
    if "model" not in measure["parents"]:
        raise BadInput(
            "cell",
            outcome.cell["label"],
            "this is the model as it is:",
            measure["sources"]["model"],
        )
    found: outcomes.Spec = measure["parents"]["model"]
    return found
