"""``isorate logs``: what the stages of one cell printed."""

from __future__ import annotations

from pathlib import Path

from sweeper.cli.request import Request
from sweeper.errors import BadInput, one_of
from sweeper.results import outcomes as cell_outcomes
from sweeper.results.outcomes import CellOutcome


def perform(request: Request) -> int:
    """Print the logs of the cell that `cell` names, stage by stage."""
    outcome = cell(request)
    found = {
        _title(stage.name, path): settled(path.read_text(errors="replace"))
        for stage in outcome.stages
        for path in sorted(request.sweep.logs.glob(f"{stage.kind}-{stage.key}*.log"))
    }
    text = "\n".join(f"==> {name} <==\n{content}" for name, content in found.items())
    request.answer(
        {"cell": outcome.cell["label"], "logs": found},
        text or f"no stage of {outcome.cell['label']} has printed anything yet",
    )
    return 0


def settled(text: str) -> str:
    """A log as a terminal shows it at the end: of a line that was rewritten, the last state."""
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return "\n".join(line.rstrip() for line in lines)


def _title(stage: str, path: Path) -> str:
    """The stage; with the attempt where a cluster's job has a log of its own."""
    attempt = path.stem.partition(".")[2]
    return f"{stage}, job {attempt}" if attempt else stage


def cell(request: Request) -> CellOutcome:
    """The outcome of the one cell that `cell` names: its label, "MODEL: LABEL", or its key.

    Raises:
        BadInput: it names none, or cells of several models.
    """
    outcomes = cell_outcomes.collect(request.sweep.load(), request.store)
    asked = request.config.cell
    matching = [o for o in outcomes if asked in (o.cell["label"], _full(o), o.key)]
    if len(matching) != 1:
        labels = [_full(o) for o in matching] or [str(o.cell["label"]) for o in outcomes]
        valid = one_of(list(dict.fromkeys(labels)))
        example = f"{labels[0]!r}" if matching else "'25% + 4bit'"
        raise BadInput("cell", asked, valid + ".", f"For example: cell={example}")
    return matching[0]


def _full(outcome: CellOutcome) -> str:
    return f"{outcome.cell['model']}: {outcome.cell['label']}"
