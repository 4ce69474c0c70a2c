"""How a run ends, in words: one message for each cause, and a way on that can help."""

from __future__ import annotations

from types import SimpleNamespace as Some
from typing import Any

import pytest

from sweeper.cli import reporting
from sweeper.cli.commands import logs
from sweeper.cli.reporting import Ended, Written
from sweeper.errors import BadInput
from sweeper.results.outcomes import CellOutcome


def outcome(label: str, status: str, reason: str, model: str = "tiny") -> CellOutcome:
    cell = {"key": f"{model}-{label}", "model": model, "label": label, "tcr": 0.5}
    return CellOutcome(cell=cell, status=status, reason=reason)


def text(*ended: Ended) -> str:
    cells = [outcome("25%", "missing", "not done yet: prune")]
    return reporting._text(cells, ended, Written(), {"enabled": False}, "")


def stage(name: str, reason: str, *, lasting: bool) -> Ended:
    return Ended(key="0f3a", stage=name, reason=reason, lasting=lasting)


def test_what_another_run_would_meet_again_is_not_to_be_run_again() -> None:
    passing = text(stage("prune of 25%", "out of memory", lasting=False))
    assert "run again to go on:\n  prune of 25%: out of memory" in passing
    lasting = text(stage("prune of 25%", "KeyError: 'experts'", lasting=True))
    assert "another run would meet again; mend it" in lasting
    assert "outside the cell" not in lasting
    assert "0f3a" not in lasting, "a person knows stages by their labels"


def test_one_cause_of_many_stages_is_one_line() -> None:
    names = [f"prune of {share}%" for share in (25, 50, 75, 90, 95)]
    told = text(*(stage(name, "no route to host", lasting=False) for name in names))
    assert told.count("no route to host") == 1
    assert "prune of 25%, prune of 50%, prune of 75% and 2 more: no route" in told


def test_a_table_says_each_cause_of_a_failure_once() -> None:
    cause = "prune: the Hessian cannot be inverted: layers.0"
    cells = [outcome(label, "failed", cause) for label in ("25%", "50%")]
    told = reporting.states([*cells, outcome("75%", "missing", "not done yet: prune")])
    assert told.count(cause) == 1
    assert "as 25%" in told


def test_cells_of_two_models_are_told_apart_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [outcome("50%", "done", "", model) for model in ("small", "large")]
    monkeypatch.setattr(logs.cell_outcomes, "collect", lambda record, store: cells)

    def named(cell: str) -> Any:
        sweep = Some(load=lambda: None)
        return logs.cell(Some(sweep=sweep, store=None, config=Some(cell=cell)))  # type: ignore[arg-type]

    assert named("large: 50%") is cells[1]
    assert named("small-50%") is cells[0]
    with pytest.raises(BadInput, match="valid: small: 50%, large: 50%"):
        named("50%")
    with pytest.raises(BadInput, match=r"cell=25%: valid: 50%\."):
        named("25%")
