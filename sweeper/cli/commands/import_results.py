"""``isorate import``: what someone already paid for becomes cells of a sweep.

Scores that lm-eval wrote, runs in MLflow, and checkpoints that were compressed elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sweeper.cli.request import Request
from sweeper.errors import BadInput, one_of
from sweeper.planning.plan import PlannedCell
from sweeper.results.importers import checkpoint, lm_eval, scores

EXAMPLE = "isorate import experiment=laborde2025 cell='25% + 4bit' path=DIR"


def perform(request: Request) -> int:
    """Record what ``path`` names as the planned cell ``cell``."""
    config = request.config
    if not config.path:
        raise BadInput(
            "path",
            "null",
            "an output directory of lm-eval, a checkpoint, or (with "
            "source=mlflow) a run is needed.",
            EXAMPLE,
        )
    if config.source == "mlflow":
        return _runs(request)
    if config.source != "store":
        raise BadInput("source", config.source, one_of(["store", "mlflow"]) + ".")
    path = Path(config.path).expanduser().absolute()
    if path.is_dir() and checkpoint.is_checkpoint(path):
        return _checkpoint(request, path)
    planned = scores.named(request.plan.cells, request.config.cell)
    return _scores(request, [(planned, lm_eval.read(path))])


def _runs(request: Request) -> int:
    from sweeper.results.importers import mlflow
    from sweeper.results.mlflow import reader

    config, sweep = request.config, request.sweep
    found = mlflow.read(
        config.path,
        request.plan.cells,
        config.cell,
        home=request.home,
        uri=config.tracking.uri,
        kept=sweep.path / reader.DOCUMENTS,
    )
    return _scores(request, found)


def _scores(request: Request, found: Sequence[tuple[PlannedCell, scores.Scored]]) -> int:
    brought = [(planned, scores.add(request.sweep, planned, each)) for planned, each in found]
    _record(request)
    done = {one["cell"]["key"] for one in scores.records(request.sweep)}
    open_cells = [one.label for one in request.plan.cells if one.key not in done]
    cells = [
        {
            "cell": planned.key,
            "label": planned.label,
            "tasks": sorted(record["scores"]),
            "lacking": record["lacking"],
            "ignored": record["ignored"],
            "not_stated": record["not_stated"],
        }
        for planned, record in brought
    ]
    lines = [line for planned, record in brought for line in _lines(planned.label, record)]
    if open_cells:
        lines.append(f"Not imported: {', '.join(open_cells)}")
    _answer(request, {"cells": cells, "not_imported": open_cells}, lines)
    return 0


def _checkpoint(request: Request, path: Path) -> int:
    cells, label = request.plan.cells, request.config.cell
    given = request.config.pruned
    pruned = Path(given).expanduser().absolute() if given else None
    if label is None:
        planned = checkpoint.find(cells, path, request.pins, pruned)
    else:
        planned = scores.named(request.plan.cells, request.config.cell)
        checkpoint.check(planned, path, request.pins, pruned)
    checkpoint.add(request.sweep, planned, path, pruned)
    _record(replace(request))  # whose plan knows of the checkpoint
    _answer(
        request,
        {"cell": planned.label, "checkpoint": str(path), "pruned": given},
        [
            f"{planned.label}: the checkpoint {path} takes the place of one that would be made",
            *_unproved(planned, pruned),
            "`isorate run` with the same arguments measures and scores it.",
        ],
    )
    return 0


def _unproved(planned: PlannedCell, pruned: Path | None) -> list[str]:
    cell = planned.cell
    if pruned or not (cell.pruning and cell.quantization) or ":" in cell.pruning.pattern:
        return []
    return [
        "  nothing says which weights were pruned, so its label stays unproved and it takes no "
        "part in verdicts at equal rate; pruned=DIR names the model it was quantized from"
    ]


def _record(request: Request) -> None:
    """With its plan on record the sweep's report names the cells that still lack."""
    about = [word for word in request.arguments if not _own(word)]
    request.sweep.record(request.plan, about, request.config.checkpoints)


def _own(word: str) -> bool:
    """Whether an override is about the import, not about the sweep."""
    return word.partition("=")[0] in ("action", "cell", "path", "pruned", "source")


def _lines(label: str, record: scores.Json) -> list[str]:
    lines = [f"{label}: {len(record['scores'])} tasks imported from {record['source']}"]
    if record["lacking"]:
        lines.append(f"  without scores of: {', '.join(record['lacking'])}")
    if record["ignored"]:
        lines.append(f"  left aside, not part of this sweep: {', '.join(record['ignored'])}")
    if record["not_stated"]:
        lines.append(f"  not stated, taken as this sweep has it: {', '.join(record['not_stated'])}")
    return lines


def _answer(request: Request, document: scores.Json, lines: list[str]) -> None:
    name = request.sweep.name
    lines.append(f"`isorate report name={name}` says what is decided, and which cells lack.")
    request.answer({"name": name, **document}, "\n".join(lines))
