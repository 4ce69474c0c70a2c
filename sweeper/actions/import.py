"""``isorate import``: scores that lm-eval wrote elsewhere become a cell of a sweep."""

from __future__ import annotations

from pathlib import Path

from sweeper import imported, lm_eval_output
from sweeper.actions import Request
from sweeper.errors import BadInput
from sweeper.plan import PlannedCell


def perform(request: Request) -> int:
    """Record the scores in the directory ``path`` as those of the planned cell ``cell``."""
    if not request.config.path:
        example = "isorate import experiment=laborde2025 cell='25% + 4bit' path=DIR"
        raise BadInput("path", "null", "the output directory of lm-eval is needed.", example)
    planned = _planned(request)
    output = lm_eval_output.read(Path(request.config.path).expanduser())
    record = imported.add(request.sweep, planned, output)
    # With its plan on record the sweep's report names the cells that still lack.
    about = [word for word in request.arguments if not _own(word)]
    request.sweep.record(request.plan, about, request.config.checkpoints)
    done = {one["cell"]["key"] for one in imported.records(request.sweep)}
    open_cells = [one.label for one in request.plan.cells if one.key not in done]
    request.answer(
        {"cell": planned.key, "label": planned.label, "tasks": sorted(record["scores"]),
         "lacking": record["lacking"], "ignored": record["ignored"], "not_imported": open_cells},
        _text(request.sweep.name, planned.label, record, open_cells),
    )  # fmt: skip
    return 0


def _own(word: str) -> bool:
    """Whether an override is about the import, not about the sweep."""
    return word.partition("=")[0] in ("action", "cell", "path")


def _planned(request: Request) -> PlannedCell:
    """The one cell of the plan that ``cell`` names; a plan of one cell needs no name."""
    cells, label = request.plan.cells, request.config.cell
    found = [one for one in cells if label in (None, one.label)]
    if len(found) == 1:
        return found[0]
    labels = ", ".join(dict.fromkeys(one.label for one in cells))
    if found and label is not None:
        raise BadInput("cell", label, "several models have it; name one: model=...")
    raise BadInput("cell", label, f"which cell was scored? valid: {labels}.")


def _text(name: str, label: str, record: imported.Json, open_cells: list[str]) -> str:
    lines = [f"{label}: {len(record['scores'])} tasks imported into {name}"]
    if record["lacking"]:
        lines.append(f"  without scores of: {', '.join(record['lacking'])}")
    if record["ignored"]:
        lines.append(f"  left aside, not part of this sweep: {', '.join(record['ignored'])}")
    if open_cells:
        lines.append(f"Not imported: {', '.join(open_cells)}")
    lines.append(f"`isorate report name={name}` says what is decided, and which cells lack.")
    return "\n".join(lines)
