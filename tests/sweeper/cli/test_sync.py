"""`isorate sync` writes once; with watch=true until nothing more happens by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace as Some
from typing import Any

import pytest

from sweeper.cli import live_sync, reporting
from sweeper.cli.commands import sync
from sweeper.errors import BadInput
from sweeper.planning.sweep import Sweep

DONE = {"enabled": True, "uri": "u", "created": 1, "updated": 0, "unchanged": 0, "removed": 0}


def request(answers: list[Any], *, watch: bool, every_s: float = 0.001) -> Any:
    return Some(
        config=Some(watch=watch, tracking=Some(every_s=every_s)),
        answer=lambda document, text: answers.append(text),
    )


def writes(monkeypatch: pytest.MonkeyPatch, problems: list[str]) -> list[bool]:
    quiet: list[bool] = []

    def write(silent: bool) -> dict[str, Any]:
        quiet.append(silent)
        return DONE | {"problem": problems[len(quiet) - 1]}

    monkeypatch.setattr(live_sync, "writer", lambda request: write)
    return quiet


def looked(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], bool]) -> None:
    """Whether the cells are at their end, whenever somebody asks."""
    watch = Some(look=answer)
    monkeypatch.setattr(reporting, "Watch", lambda request: watch)


def test_once_without_asking_how_far_the_cells_are(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet, answers = writes(monkeypatch, [""]), list[Any]()
    looked(monkeypatch, lambda: pytest.fail("nobody watches"))
    assert sync.perform(request(answers, watch=False)) == 0
    assert quiet == [False]
    assert answers == ["u: 1 created, 0 updated, 0 unchanged, 0 removed"]


def test_until_the_end_which_is_written_too(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet, answers = writes(monkeypatch, ["", "it is down", ""]), list[Any]()
    states = iter([False, False, True])
    looked(monkeypatch, lambda: next(states))
    assert sync.perform(request(answers, watch=True)) == 0
    assert quiet == [False, False, True]
    assert len(answers) == 1


def test_a_pause_of_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match=r"tracking\.every_s=0\.0: valid with watch=true"):
        sync.perform(request([], watch=True, every_s=0))


class _Home:
    """A store whose stages at work are told by the test."""

    def __init__(self, at_work: dict[str, Any]) -> None:
        self.at_work = at_work

    def running(self) -> dict[str, Any]:
        return self.at_work


def cells(*states: str) -> list[Any]:
    return [Some(status=state) for state in states]


def test_watching_is_over_when_nothing_is_left_that_could_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = _Home({})
    watch = reporting.Watch(Some(store=home, sweep=Sweep(tmp_path, "s")))  # type: ignore[arg-type]
    to_come, gone = Some(known=True, to_come=True), Some(known=True, to_come=False)
    assert watch.over(cells("done", "failed"), None)
    assert not watch.over(cells("done", "queued"), to_come)  # type: ignore[arg-type]
    assert watch.over(cells("ended", "blocked"), gone)  # type: ignore[arg-type]
    assert not watch.over(cells("missing"), None), "a pause between two stages of this machine"
    monkeypatch.setattr(reporting, "_IDLE_S", 0.0)
    assert watch.over(cells("missing"), None)
    home.at_work["a stage"] = Some()
    monkeypatch.setattr(reporting, "_IDLE_S", 60.0)
    assert not watch.over(cells("missing"), None)
    away = Some(known=False, to_come=False)
    assert not watch.over(cells("ended"), away), "SLURM does not answer"  # type: ignore[arg-type]
