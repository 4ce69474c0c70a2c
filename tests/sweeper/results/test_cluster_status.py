"""Cells of a sweep that a cluster works on, as `status` shows them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from sweeper.results.cluster_status import cell_job, footer, gpu_hours, overlaid
from sweeper.results.outcomes import CellOutcome, StageOutcome


def job(state: str, **fields: Any) -> Any:
    given = {
        "cause": "",
        "reason": "",
        "job": "7",
        "node": "",
        "elapsed_s": 0.0,
        "restarts": 0,
        "gpu_hours": 0.0,
        "log": "",
    }
    return SimpleNamespace(state=state, **(given | fields))


def outcome(status: str = "missing") -> CellOutcome:
    stages = [
        StageOutcome(kind="prune", key="p"),
        StageOutcome(kind="quantize", key="q"),
        StageOutcome(kind="evaluate", key="t", task="cloze"),
    ]
    return CellOutcome(cell={"key": "c"}, status=status, reason="not yet", stages=tuple(stages))


def table(**stages: Any) -> Any:
    return SimpleNamespace(stages=stages, note="", gpu_hours=1.5, eta_s=None)


def test_a_running_stage_stands_for_its_cell() -> None:
    found = cell_job(
        outcome(),
        table(
            p=job("done", job="6", gpu_hours=1.0),
            q=job("running", node="n1", elapsed_s=65.0, gpu_hours=0.5, restarts=2),
            t=job("queued", gpu_hours=0.5),
        ),
    )
    assert found is not None
    assert found.state == "running"
    assert found.reason == "quantize on n1, 1 min 05 s (job 7, started again 2 times)"


def test_gpu_hours_are_those_of_all_attempts_and_of_what_runs() -> None:
    """Job 6 is over; job 7 has made the quantized checkpoint and scores it now."""
    earlier = {"job": "5", "gpu_hours": 0.1}
    prune = {"slurm": {"job": "6", "gpu_hours": 1.0, "earlier_attempts": [earlier]}}
    quantize = {"slurm": {"job": "7", "gpu_hours": 0.2, "earlier_attempts": []}}
    done = {"p": prune, "q": quantize}
    stages = tuple(
        replace(s, manifest=done[s.key], result={}) if s.key in done else s
        for s in outcome().stages
    )
    found = replace(outcome(), stages=stages)
    jobs = table(
        p=job("done", job="6", gpu_hours=1.0),
        q=job("done", gpu_hours=0.5),
        t=job("running", gpu_hours=0.5),
    )
    assert gpu_hours(found, jobs) == pytest.approx(1.0 + 0.1 + 0.5)
    assert gpu_hours(outcome(), table()) == 0.0


def test_what_ended_comes_before_what_waits_for_it() -> None:
    jobs = table(q=job("ended", cause="time limit", reason="ended after 60 min"), t=job("blocked"))
    (shown,) = overlaid([outcome()], jobs)
    assert (shown.status, shown.reason) == (
        "ended",
        "quantize: time limit: ended after 60 min (job 7)",
    )


def test_the_store_knows_better_what_is_over() -> None:
    jobs = table(q=job("running"))
    assert overlaid([outcome("done"), outcome("failed")], jobs)[0].status == "done"
    assert overlaid([outcome()], None)[0].status == "missing"
    assert overlaid([outcome()], table())[0].status == "missing"


def test_the_footer_says_what_is_not_known() -> None:
    assert footer(None) == ""
    jobs = SimpleNamespace(stages={}, note="no accounting", gpu_hours=2.0, eta_s=7200.0)
    assert footer(jobs).splitlines() == [
        "2.00 GPU hours so far, about 2 h 00 min left at the present pace",
        "Note: no accounting",
    ]
