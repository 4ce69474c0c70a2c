"""What an attempt says of its progress is there for others to read, and not in its output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.cli import reporting
from sweeper.results import outcomes
from sweeper.results.outcomes import CellOutcome, StageOutcome
from sweeper.stages import Job
from sweeper.store import progress
from sweeper.store.progress import Headway, Recorder
from sweeper.store.store import Store
from sweeper.worker.runner import Bench, run_stage
from tests.stubs.stages import spec

SPEC = spec(name="score")


class Clock:
    """Stands in for `time` in the module under test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    return found


def silent(fraction: float, note: str) -> None:
    """Nobody watches."""


def test_it_is_written_every_few_seconds_and_told_each_time(tmp_path: Path, clock: Clock) -> None:
    told: list[tuple[float, str]] = []
    say = Recorder(tmp_path, lambda *said: told.append(said))
    assert progress.read(tmp_path, "here") == Headway(host="here", started=1000.0)
    clock.now += progress.EVERY_S
    say(0.25, "1/4")
    clock.now += progress.EVERY_S / 2
    say(0.5, "2/4")
    assert told == [(0.25, "1/4"), (0.5, "2/4")]
    found = progress.read(tmp_path, "here")
    assert (found.fraction, found.note) == (0.25, "1/4")
    assert found.rates == {"seconds_left": pytest.approx(3 * progress.EVERY_S)}
    clock.now += progress.EVERY_S / 2
    say(0.75, "3/4", documents_per_s=2.0, seconds_left=7.0)
    assert progress.read(tmp_path, "").rates == {"documents_per_s": 2.0, "seconds_left": 7.0}


def test_the_first_steps_promise_nothing(tmp_path: Path, clock: Clock) -> None:
    say = Recorder(tmp_path, silent)
    clock.now += progress.EVERY_S
    say(0.01)
    assert progress.read(tmp_path, "").rates == {}


def test_a_disk_that_takes_nothing_stops_no_stage(tmp_path: Path, clock: Clock) -> None:
    say = Recorder(tmp_path / "absent", silent)
    clock.now += progress.EVERY_S
    say(0.5)
    assert progress.read(tmp_path / "absent", "there") == Headway(host="there")


def test_others_see_a_stage_at_work_and_its_output_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    store, seen = Store(tmp_path), []

    def stage(job: Job) -> dict[str, Any]:
        job.progress(0.5, "layer 1/2")
        seen.append(Store(tmp_path).running()[SPEC["key"]])
        (job.out / "records.txt").write_text("all")
        return {"score": 1}

    run_stage(SPEC, store, Bench(find=lambda kind: stage))
    assert (seen[0].fraction, seen[0].note) == (0.5, "layer 1/2")
    assert set(store.manifest(SPEC)["files"]) == {"records.txt", "result.json"}
    assert store.running() == {}


def test_status_says_how_far_a_running_cell_is() -> None:
    stages = (
        StageOutcome(kind="quantize", key="q", result={}),
        StageOutcome(kind="evaluate", key="t", task="cloze"),
    )
    cell = {"key": "c", "model": "tiny", "label": "4bit", "tcr": 0.75}
    outcome = CellOutcome(cell=cell, status="missing", reason="not done yet", stages=stages)
    running = {"t": Headway(host="n1", note="8/10 documents, 0.5/s"), "other": Headway()}
    assert [s.key for s in outcome.at_work(running)] == ["t"]
    state = reporting.cell_state(outcome, running)
    assert state["status"] == "running"
    assert state["reason"] == "evaluate cloze on n1: 8/10 documents, 0.5/s"
    on_cluster = outcomes.replace(outcome, status="running", reason="evaluate cloze on n1 (job 7)")
    state = reporting.cell_state(on_cluster, running)
    assert state["reason"] == "evaluate cloze on n1 (job 7); 8/10 documents, 0.5/s"
    assert reporting.cell_state(outcome)["status"] == "missing"
