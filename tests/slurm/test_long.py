"""Longer cases on the real cluster (`make test-slurm-long`): many kills, one cap over many jobs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks import slurm_pull
from launchers.slurm import records
from sweeper.results import launcher_record
from tests.slurm.conftest import Cluster, Rig

pytestmark = pytest.mark.slow


def most_at_once(rig: Rig, stages: list[Any]) -> int:
    """How many stages were at work at the same moment, at most."""
    spans = [
        (datetime.fromisoformat(a["started"]), datetime.fromisoformat(a["ended"]))
        for stage in stages
        for a in records.attempts(rig.sweep.path, stage["key"])
    ]
    return max(sum(one[0] <= begin < one[1] for one in spans) for begin, _ in spans)


@pytest.mark.usefixtures("cluster")
def test_workers_are_killed_and_the_tables_are_those_of_a_calm_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm_pull.kill(tmp_path, 0.5, kills=10, seed=3)
    told = capsys.readouterr().out
    assert "10 kills: 134 stages, all done: True;" in told
    assert "of stages that were not killed: 0;" in told
    assert told.rstrip().endswith("tables of the report as in a calm run, 0 differ")


def test_a_cap_holds_while_jobs_die_and_more_cells_come(rig: Rig, cluster: Cluster) -> None:
    cluster("up", SLURM_LAB_MAX_ARRAY="100")
    cluster("ctld", "stop")
    cluster("ctld", "start")
    try:
        stages = rig.grid(pruned=4, quantized=2, tasks=0, sleep=2.0, estimate_s=2.0)
        makes = [stage for stage in stages if stage["params"].get("sleep")]
        rig.run(makes[:6], pack="stage", array_parallelism=3)
        rig.run(makes, pack="stage", array_parallelism=3)
        first, second = launcher_record.submissions(rig.sweep.path)
        assert [len(array["jobs"]) for array in first["arrays"]] == [6]
        assert sum(len(array["jobs"]) for array in second["arrays"]) == 6
        rig.wait(makes)
        assert most_at_once(rig, makes) == 3
        assert len(rig.runs()) == len(makes)
    finally:
        cluster("up")
        cluster("ctld", "stop")
        cluster("ctld", "start")
