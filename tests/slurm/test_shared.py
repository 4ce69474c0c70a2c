"""A busy, strict, shared cluster, for real: limits, wrappers, a person's scancel, and pulling."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from launchers import leases
from launchers.slurm import records
from sweeper.results import launcher_record
from tests.slurm.conftest import Cluster, Rig

HELD: dict[str, Any] = {"additional_parameters": {"hold": True}}


def test_pulling_workers_finish_a_grid_in_one_array(rig: Rig, cluster: Cluster) -> None:
    stages = rig.grid(pruned=3, quantized=2, tasks=1, sleep=1.0, estimate_s=1.0)
    rig.run(stages, pack="pull", array_parallelism=4)
    (record,) = launcher_record.submissions(rig.sweep.path)
    assert len(record["arrays"]) == 1
    rig.wait(stages)
    assert rig.runs() == sorted(s["label"] for s in stages), "each stage ran once"
    rig.until(lambda: len(rig.table().rounds) == 1)
    manifests = [rig.store.manifest(stage) or {} for stage in stages]
    assert len({manifest["slurm"]["job"] for manifest in manifests}) >= 2


def test_killed_workers_lose_only_what_they_were_at(rig: Rig) -> None:
    stages = rig.grid(pruned=3, quantized=2, tasks=0, sleep=2.0)
    makes = [stage for stage in stages if stage["params"].get("sleep")]
    rig.run(stages, pack="pull", array_parallelism=3)
    killed = 0
    while killed < 2 and not rig.done(makes):
        for stage in makes:
            holder = leases.holder(leases.of_stage(rig.store.home, stage["key"]))
            if holder is not None and killed < 2 and rig.running(stage):
                os.kill(holder.pid, signal.SIGKILL)
                killed += 1
                break
        time.sleep(0.5)
    rig.wait(stages)
    assert killed == 2
    assert len(stages) <= len(rig.runs()) <= len(stages) + killed


def test_a_cap_is_one_for_all_jobs_of_a_sweep(rig: Rig) -> None:
    """Pruned models, and what waits for each of them, are at work at the same time."""
    stages = rig.grid(pruned=2, quantized=1, tasks=0, sleep=3.0, estimate_s=3.0)
    makes = [stage for stage in stages if stage["params"].get("sleep")]
    rig.run(makes, pack="stage", array_parallelism=2)
    (record,) = launcher_record.submissions(rig.sweep.path)
    assert [len(array["jobs"]) for array in record["arrays"]] == [4]
    rig.wait(makes)
    assert len(rig.runs()) == 4, "each stage ran once, after its parent"
    spans = [
        (datetime.fromisoformat(a["started"]), datetime.fromisoformat(a["ended"]))
        for stage in makes
        for a in records.attempts(rig.sweep.path, stage["key"])
    ]
    at_once = [sum(one[0] <= begin < one[1] for one in spans) for begin, _ in spans]
    assert max(at_once) == 2


def test_pulling_what_needs_more_memory_kills_one_worker_only(rig: Rig) -> None:
    big = rig.make("big", hog_mb=400)
    stages = [big, *(rig.make(f"p{n}", sleep=4.0) for n in range(3))]
    rig.run(stages, pack="pull", array_parallelism=2, mem_gb=0.3, retry={"memory_factor": 4})
    rig.wait(stages)
    assert len(records.attempts(rig.sweep.path, big["key"])) == 2
    assert len(rig.runs()) == 4
    first, *more = launcher_record.submissions(rig.sweep.path)
    assert first["memory"] == {}
    assert more[-1]["memory"] == {big["key"]: 4.0}


def test_an_early_repair_does_not_wait_for_the_slowest(rig: Rig) -> None:
    slow, dies = rig.make("slow", sleep=45.0), rig.make("dies", sleep=5.0)
    child = rig.make("child", parents={"model": dies})
    rig.run([slow, dies, child], pack="stage", retry={"early": True})
    rig.until(lambda: rig.running(dies), 60)
    holder = leases.holder(leases.of_stage(rig.store.home, dies["key"]))
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)
    rig.wait([dies, child])
    assert not rig.store.is_done(slow), "the slowest was still at work"
    rig.wait([slow])
    rig.until(lambda: any("verbs" in one for one in rig.table().rounds))
    assert rig.runs() == ["child", "dies", "dies", "slow"]


@pytest.fixture
def limited(cluster: Cluster) -> Iterator[None]:
    """A user may have five jobs, and the controller holds to it."""
    cluster("up", SLURM_LAB_ENFORCE="limits")
    cluster("ctld", "stop")
    cluster("ctld", "start")
    cluster.run("scancel", "-u", "root")  # what other tests have left in this cluster counts too
    cluster.run("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=5")
    time.sleep(1)
    try:
        yield
    finally:
        cluster.run("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=-1")
        cluster("up")
        cluster("ctld", "stop")
        cluster("ctld", "start")


@pytest.mark.usefixtures("limited")
def test_a_limit_on_submission_makes_waves(rig: Rig, cluster: Cluster) -> None:
    until = time.monotonic() + 60
    while cluster.run("squeue", "-h").strip() and time.monotonic() < until:
        time.sleep(1)
    stages = [rig.make(f"p{n}") for n in range(7)]
    shape = rig.launcher(pack="stage").shape(stages, rig.store)  # type: ignore[attr-defined]
    assert shape.waves == 2
    rig.run(stages, pack="stage")
    assert len(cluster.run("squeue", "-h", "-r").splitlines()) <= 5
    rig.wait(stages)
    assert len(rig.runs()) == 7


def test_an_element_that_a_person_cancelled_stays_cancelled(rig: Rig, cluster: Cluster) -> None:
    stages = [rig.make(f"p{n}") for n in range(3)]
    rig.run(stages, pack="stage", **HELD)
    victim = rig.state(stages[1]).job
    cluster.run("scancel", victim)
    rig.until(lambda: rig.state(stages[1]).cause == "cancelled", 30)
    assert not rig.state(stages[1]).again
    names = {rig.state(stage).job.split("_")[0] for stage in stages}
    rounds = [r["round"]["job"] for r in launcher_record.submissions(rig.sweep.path)]
    cluster.run("scontrol", "release", *names, *rounds)
    rig.wait([stages[0], stages[2]])
    rig.until(lambda: bool(rig.table().rounds))
    assert rig.table().rounds[-1]["given_up"].keys() == {stages[1]["key"]}
    assert rig.table().rounds[-1]["resubmitted"] == []


def test_a_controller_that_was_started_again_does_not_undo_a_scancel(
    rig: Rig, cluster: Cluster
) -> None:
    stage = rig.make("p")
    rig.run([stage], **HELD)
    cluster("ctld", "stop")
    cluster("ctld", "start")
    cluster.run("scancel", rig.state(stage).job)
    rig.until(lambda: rig.state(stage).state == "ended", 30)
    assert (rig.state(stage).cause, rig.state(stage).again) == ("cancelled", False)
    rig.launcher().cancel(rig.sweep.path)  # type: ignore[attr-defined]


def test_a_sites_wrapper_talks_of_other_jobs(
    rig: Rig, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = cluster.run(
        "sbatch", "--parsable", "-H", "-o", "/dev/null", "--wrap", "true"
    ).strip()
    tools = tmp_path / "bin"
    tools.mkdir()
    real = shutil.which("sbatch")
    note = f"NOTE: your last job {stranger} wasted 90 % of its memory"
    (tools / "sbatch").write_text(f'#!/bin/sh\necho "{note}"\nexec {real} "$@"\n')
    (tools / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    parent = rig.make("p", sleep=2.0)
    stages = [parent, rig.make("q", parents={"model": parent})]
    rig.run(stages, pack="stage")
    assert stranger not in {rig.state(stage).job for stage in stages}
    rig.wait(stages)
    assert rig.runs() == ["p", "q"], "the child waited for its parent"
    rig.launcher().cancel(rig.sweep.path)  # type: ignore[attr-defined]
    assert cluster.run("squeue", "-h", "-j", stranger).strip(), "somebody's job is still there"
    cluster.run("scancel", stranger)
