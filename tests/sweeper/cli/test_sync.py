"""`isorate sync` writes once; with watch=true until every cell is done or failed."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace as Some
from typing import Any

import pytest

from sweeper.cli import live_sync, reporting
from sweeper.cli.commands import sync
from sweeper.errors import BadInput

DONE = {"enabled": True, "uri": "u", "created": 1, "updated": 0, "unchanged": 0, "removed": 0}


def request(answers: list[Any], *, watch: bool, every_s: float = 0.001) -> Any:
    return Some(config=Some(watch=watch, tracking=Some(every_s=every_s)),
                answer=lambda document, text: answers.append(text))  # fmt: skip


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
