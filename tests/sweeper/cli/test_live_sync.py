"""MLflow follows a run from a thread: rarely if it is slow, and never to the harm of the run."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from sweeper.cli import live_sync

FINE, DOWN = {"problem": ""}, {"problem": "it is down"}


class Stop:
    """An event that is set after some waits; keeps how long each was to be."""

    def __init__(self, waits: int) -> None:
        self.left, self.pauses = waits, []

    def wait(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.left -= 1
        return self.left < 0


def test_it_writes_after_every_pause_and_stops_when_told() -> None:
    stop, quiet = Stop(3), []

    def write(silent: bool) -> dict[str, Any]:
        quiet.append(silent)
        return FINE

    live_sync.follow(write, 60.0, stop)
    assert quiet == [False] * 3
    assert stop.pauses == [60.0] * 4


def test_a_problem_is_said_once_and_tried_again() -> None:
    answers, quiet = iter([FINE, DOWN, DOWN, FINE]), []

    def write(silent: bool) -> dict[str, Any]:
        quiet.append(silent)
        return next(answers)

    live_sync.follow(write, 60.0, Stop(4))
    assert quiet == [False, False, True, True]


def test_a_slow_write_is_repeated_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(live_sync.time, "monotonic", lambda: now[0])

    def write(silent: bool) -> dict[str, Any]:
        now[0] += 30.0
        return FINE

    stop = Stop(2)
    live_sync.follow(write, 60.0, stop)
    assert stop.pauses == [60.0, 60.0, 30.0 * live_sync.APART]  # the first imports MLflow


def test_what_nobody_foresaw_is_said_and_ends_the_thread_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def write(silent: bool) -> dict[str, Any]:
        raise ValueError("a plan that is no JSON")

    stop = Stop(5)
    with caplog.at_level(logging.WARNING, "sweeper.cli.live_sync"):
        live_sync.follow(write, 60.0, stop)
    assert "a plan that is no JSON" in caplog.text
    assert len(stop.pauses) == 1


def request(every_s: float, *, enabled: bool = True) -> Any:
    from types import SimpleNamespace as Some

    return Some(config=Some(tracking=Some(enabled=enabled, every_s=every_s)))


def test_the_thread_lives_as_long_as_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    written = threading.Event()

    def write(silent: bool) -> dict[str, Any]:
        written.set()
        return FINE

    monkeypatch.setattr(live_sync, "writer", lambda request: write)
    before = threading.active_count()
    with live_sync.followed(request(0.01)):
        assert written.wait(30)
    assert threading.active_count() == before


@pytest.mark.parametrize("off", [request(0), request(60, enabled=False)])
def test_without_tracking_there_is_no_thread(off: Any) -> None:
    before = threading.active_count()
    with live_sync.followed(off):
        assert threading.active_count() == before
