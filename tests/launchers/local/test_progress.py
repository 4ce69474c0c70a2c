"""What people see: counts, the time left, and every trouble, on a terminal and in a log."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest
from rich.console import Console

from launchers.base import StageOutcome
from launchers.local import progress
from launchers.local.progress import Display, Lines, Tally
from tests.stubs.stages import spec

A = spec(name="a", label="25% + 4bit", estimate_s=10)
B = spec("score", name="b", label="25% + 4bit", task="cloze", estimate_s=30, parents={"model": A})
C = spec(name="c", label="dense", estimate_s=20)
CELLS = {"25% + 4bit": [A["key"], B["key"]], "dense": [C["key"]]}
DONE = StageOutcome(state="done", seconds=20.0)


def test_the_time_left_follows_what_was_measured() -> None:
    tally = Tally(CELLS)
    tally.begin([A, B, C], {})
    assert tally.left_s(0.0, workers=1) == 60
    assert tally.left_s(0.0, workers=2) == 30
    tally.settle(A, DONE)
    assert tally.left_s(0.0, workers=1) == 70, "its kind took twice as long as estimated"
    tally.running[C["key"]] = progress.Running(spec=C, where="", since=0.0)
    assert tally.left_s(30.0, workers=1) == 40, "30 s of 40 have passed"
    tally.running[C["key"]].fraction = 0.75
    assert tally.left_s(60.0, workers=1) == 50, "it said itself that a quarter is left"
    tally.settle(C, DONE)
    tally.settle(B, DONE)
    assert (tally.left_s(0.0, workers=1), tally.cells_done) == (0, 2)


def test_a_cell_is_done_when_all_its_stages_are() -> None:
    tally = Tally(CELLS)
    tally.begin([A, B, C], {A["key"]: StageOutcome(state="done")})
    assert tally.cells_done == 0
    tally.settle(C, StageOutcome(state="failed"))
    assert tally.cells_done == 0
    tally.settle(B, DONE)
    assert (tally.cells_done, tally.cells) == (1, 2)


def play(observer: Any) -> None:
    observer.begin([A, B, C], {})
    observer.started(A, "worker 1")
    observer.progress(A, 0.4, "layer 12/30")
    observer.started(C, "worker 2")
    observer.say("its worker was killed by signal 9 (SIGKILL)")
    observer.ended(A, DONE)
    observer.ended(C, StageOutcome(state="failed", reason="raise dampening"))
    observer.ended(B, StageOutcome(state="ended", reason="no space left"))
    observer.close()


def test_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="isorate"):
        play(Lines("demo", CELLS))
    text = caplog.text
    assert "demo: 3 stages, 0 are done, 3 to do" in text
    assert "started  25% + 4bit: make (worker 1)" in text
    assert "done     25% + 4bit: make in 0:00:20; 0/2 cells, 1/3 stages, about" in text
    assert "failed   dense: make: raise dampening" in text
    assert "ended    25% + 4bit: score cloze: no space left" in text
    assert "killed by signal 9" in text
    assert text.rstrip().endswith("0/2 cells, 3/3 stages, 1 ended, 1 failed")


def test_a_cause_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    cause = "KeyError: 'experts.0'"
    blocked = StageOutcome(state="blocked", reason=f"its make stage (dense) ended: {cause}")
    lines = Lines("demo", CELLS)
    with caplog.at_level(logging.INFO, logger="isorate"):
        lines.begin([A, B, C], {})
        for stage in (C, A):
            lines.ended(stage, StageOutcome(state="ended", reason=cause))
        lines.ended(B, blocked)
    assert caplog.text.count(cause) == 1
    assert "ended    25% + 4bit: make: for the same reason as dense: make" in caplog.text
    assert "blocked  25% + 4bit: score cloze: its make stage (dense) ended\n" in caplog.text


def test_live_display() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    display = Display(console, "demo", CELLS)
    play(display)
    shown = screen.getvalue()
    assert "raise dampening" in shown
    assert "killed by signal 9" in shown
    assert "0/2 cells, 3/3 stages, 1 ended, 1 failed" in shown


def test_live_table_shows_what_runs() -> None:
    plain = Console(file=io.StringIO(), width=100)
    display = Display(plain, "demo", CELLS)
    display.begin([A, B, C], {})
    display.started(A, "worker 1")
    display.progress(A, 0.4, "layer 12/30 [bold]")
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(display._draw())
    display.close()
    shown = console.export_text()
    assert "demo" in shown
    assert "25% + 4bit: make" in shown
    assert "layer 12/30 [bold]" in shown
    assert "0/2 cells, 0/3 stages" in shown


def test_a_pipe_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    assert type(progress.observer("demo", CELLS)) is Lines
