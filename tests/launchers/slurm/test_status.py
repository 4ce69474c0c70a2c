"""What became of a job: sacct's words as they really come, and the sentences made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launchers.slurm.cluster import accounting
from launchers.slurm.cluster.accounting import Row
from launchers.slurm.cluster.nodes import minutes, parse
from launchers.slurm.repair import judge, tried_again
from launchers.slurm.resources.resources import gres_gpus
from launchers.slurm.status import JobState, classify, tail

# Printed by sacct 22.05 (-n -P -D): steps below their job, a requeued job twice, a range of
# waiting elements that lags behind the element 10_4 that has already run.
SACCT = """\
12|CANCELLED|0:0|Dependency|None assigned|0|||gpu
13|REQUEUED|0:0|None|n1|6|billing=1,cpu=1,gres/gpu:a10=2,gres/gpu=2,mem=100M||gpu
13.batch|CANCELLED|0:15||n1|6|cpu=1,mem=100M,node=1|3412K|
13.0|CANCELLED|0:15||n1|6|cpu=1,mem=100M,node=1|40M|
13|RUNNING|0:0|BeginTime|n2|3600|billing=1,cpu=1,gres/gpu:a10=2,gres/gpu=2,mem=100M||gpu
14|CANCELLED by 1000|0:0|JobHeldUser|None assigned|0|||gpu
10_0|COMPLETED|0:0|None|n1|2|cpu=1,gres/gpu:a10=3||gpu
10_4|FAILED|9:0|JobArrayTaskLimit|n1|0|billing=1,cpu=1||gpu
10_4.batch|FAILED|9:0||n1|0|cpu=1|2.5G|
10_[3-5,8%1]|PENDING|0:0|JobArrayTaskLimit|None assigned|0|||gpu
"""


def test_rows_of_every_job_in_order() -> None:
    rows = accounting.parse(SACCT)
    assert set(rows) == {"12", "13", "14", "10_0", "10_3", "10_4", "10_5", "10_8"}
    first, second = rows["13"]
    assert (first.state, first.max_rss_bytes, first.node) == ("REQUEUED", 40 * 2**20, "n1")
    assert (second.state, second.gpu_hours) == ("RUNNING", 2.0)
    assert rows["14"][0].cancelled_by == "1000"
    assert rows["10_4"][0].state == "FAILED", "the stale range must not hide the element's row"
    assert rows["10_4"][0].exit_code == 9
    assert rows["10_8"][0].state == "PENDING"
    assert rows["10_0"][0].gpus == 3, "a site that counts typed GPUs only"


def attempt(**ending: Any) -> dict[str, Any]:
    return {"ending": {"error": "ValueError", "message": "bad", "again": False, **ending}}


@pytest.mark.parametrize(
    ("row", "told", "said", "cause", "again"),
    [
        (Row(state="OUT_OF_MEMORY", node="n1"), None, "", "out of memory", True),
        (
            Row(state="FAILED", node="n1"),
            attempt(error="OutOfMemoryError"),
            "",
            "out of memory",
            True,
        ),
        (
            Row(state="CANCELLED", cancelled_by="0", node="n1"),
            None,
            "  | slurmstepd: error: Step 1.0 exceeded memory limit (9 > 5), being killed",
            "out of memory",
            True,
        ),
        (Row(state="TIMEOUT", node="n1"), None, "", "time limit", True),
        (
            Row(state="FAILED", node="n1", exit_code=1),
            attempt(error="UncompletedJobError"),
            "",
            "time limit",
            True,
        ),
        (Row(state="PREEMPTED", node="n1"), None, "", "preempted", True),
        (Row(state="NODE_FAIL", node="n1"), None, "", "node failure", True),
        (Row(state="CANCELLED", cancelled_by="1000", node="n1"), None, "", "cancelled", False),
        (Row(state="CANCELLED", reason="Dependency"), None, "", "blocked", True),
        (Row(state="FAILED", node="n1", exit_code=1), attempt(), "", "python error", False),
        (
            Row(state="FAILED", node="n1", exit_code=1),
            attempt(again=True),
            "",
            "python error",
            True,
        ),
        (Row(state="FAILED", node="n1", exit_code=9), None, "", "killed", True),
        (Row(state="FAILED", node="n1", signal=9), None, "", "killed", True),
        (Row(state="FAILED", node="n1", exit_code=137), None, "", "killed", True),
        (Row(state="COMPLETED", node="n1"), None, "", "lost", True),
        (
            Row(state="FAILED", node="n1", exit_code=2),
            None,
            "  | no module named x",
            "python error",
            False,
        ),
    ],
)
def test_every_way_to_end_has_a_name(
    row: Row, told: dict[str, Any] | None, said: str, cause: str, again: bool
) -> None:
    found = classify(row, told, said)
    assert found[::2] == (cause, again)
    if cause == "python error" and said:
        assert "no module named x" in found[1]


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {n}\n\n" for n in range(10_000)))
    assert tail(path, 2) == ["line 9998", "line 9999"]
    assert tail(tmp_path / "absent") == []


def ended(cause: Any, again: bool, state: Any = "ended") -> JobState:
    return JobState(state=state, cause=cause, again=again, reason="why")


def test_a_round_tries_again_what_may_fare_better_and_gives_memory_to_what_lacked_it() -> None:
    states = {
        "oom": ended("out of memory", True),
        "kill": ended("killed", True),
        "time": ended("time limit", True),
        "bug": ended("python error", False),
        "by hand": ended("cancelled", False),
        "child": ended("blocked", True, "blocked"),
        "cell": ended("cell", False, "failed"),
        "fine": JobState(state="done"),
    }
    budget: dict[str, Any] = {"memory_factor": 1.5, "rounds": 2}
    verdict = judge(states, {"oom": 1.5}, tries={"bug": 2}, **budget)
    assert verdict.again == {"oom", "kill", "time", "child"}
    assert verdict.memory == {"oom": 2.25, "kill": 1.5}
    assert set(verdict.given_up) == {"bug", "by hand"}
    spent = judge(states, {}, tries={"oom": 2, "time": 1}, **budget)
    assert spent.again == {"kill", "time", "child"}, "each stage has tries of its own"
    assert "out of memory: why" in spent.given_up["oom"]
    assert not judge(states, {}, memory_factor=1.5, tries={}, rounds=0).again
    tried = tried_again({"time": 1}, verdict, states, {"oom", "time", "child"})
    assert tried == {"oom": 1, "time": 2}, "what waits for others uses up nothing"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30:00", 30),
        ("4:00:00", 240),
        ("1-00:00:00", 1440),
        ("2-12", 3600),
        ("45", 0.75),
        ("infinite", float("inf")),
    ],
)
def test_time_limits(text: str, expected: float) -> None:
    assert minutes(text) == expected


def test_nodes_of_a_site() -> None:
    (group,) = parse(
        "big*|up|4:00:00|64+|512000|gpu:a100:4(S:0-1),gpu:h100:8(S:0,2),x:1|a,ib|2|drained*"
    )
    assert group.gpus == {"a100": 4, "h100": 8}
    assert (group.partition, group.default, group.cpus, group.usable) == ("big", True, 64, False)


@pytest.mark.parametrize(
    ("gres", "count"), [("gpu:a10:2", 2), ("gpu:4(S:0)", 4), ("gpu", 1), ("shard:4", 0), ("", 0)]
)
def test_gpus_of_a_gres(gres: str, count: int) -> None:
    assert gres_gpus(gres) == count
