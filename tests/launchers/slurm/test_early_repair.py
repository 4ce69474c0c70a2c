"""Repair that begins with the first job that ends badly: `retry.early`."""

from __future__ import annotations

from typing import Any

import pytest

from launchers.slurm import records
from sweeper.errors import BadInput
from sweeper.results import launcher_record
from tests.launchers.fake_slurm import FakeSlurm
from tests.launchers.slurm_rig import SlurmRig

EARLY: dict[str, Any] = {"pack": "stage", "retry": {"early": True, "rounds": 2}}


@pytest.fixture
def rig(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> SlurmRig:
    monkeypatch.setattr("launchers.slurm.reliable_status._LAG_S", 0.0)
    return SlurmRig(tmp_path)


def watches(slurm: FakeSlurm) -> list[str]:
    """Jobs that watch and have not begun."""
    return [
        job
        for job, entry in slurm.jobs.items()
        if "-watch" in entry["name"] and entry["state"] == "PENDING"
    ]


def test_a_dead_job_is_repaired_while_another_still_works(slurm: FakeSlurm, rig: SlurmRig) -> None:
    slow, dies = rig.make("slow"), rig.make("dies")
    child = rig.make("child", parents={"model": dies})
    stages = [slow, dies, child]
    rig.run(stages, **EARLY)
    (watch,) = watches(slurm)
    waits = slurm.jobs[watch]["options"]["dependency"].split("?")
    assert set(waits) == {f"afternotok:{rig.state(stage).job}" for stage in stages}
    slurm.change(rig.state(slow).job, state="RUNNING", began=True)
    slurm.end(rig.state(dies).job, "NODE_FAIL")
    assert watch in slurm.ready()
    slurm.start(watch)
    first, second = launcher_record.submissions(rig.sweep.path)
    assert second["follows"] == first["submission"]
    while ready := [job for job in slurm.ready() if "-round" not in slurm.jobs[job]["name"]]:
        slurm.start(ready[0])
    assert rig.done([dies, child])
    assert not rig.store.is_done(slow)
    slurm.change(rig.state(slow).job, state="PENDING")
    slurm.work()
    assert rig.done(stages)
    assert sorted(rig.runs()) == ["child", "dies", "slow"]
    rounds = launcher_record.rounds(rig.sweep.path)
    assert [bool(one.get("followed_by")) for one in rounds] == [True, False]
    assert [one.get("verbs") is not None for one in rounds] == [False, True], "collected once"
    assert watches(slurm) == [], "SLURM drops a watch that saw nothing"


def test_what_cannot_be_repaired_is_left_and_the_rest_watched_again(
    slurm: FakeSlurm, rig: SlurmRig
) -> None:
    bug, slow, other = rig.make("bug", do="bug"), rig.make("slow"), rig.make("other")
    rig.run([bug, slow, other], **EARLY)
    slurm.start(rig.state(bug).job)
    (watch,) = watches(slurm)
    slurm.start(watch)
    (record,) = launcher_record.submissions(rig.sweep.path)
    (again,) = watches(slurm)
    waits = slurm.jobs[again]["options"]["dependency"]
    assert rig.state(bug).job not in waits.replace("afternotok:", "").split("?")
    assert [one["job"] for one in record["watches"]] == [watch, again]
    slurm.end(rig.state(slow).job, "NODE_FAIL")
    slurm.work()
    assert rig.done([slow, other])
    assert rig.runs() == ["bug", "other", "slow"]


def test_cancel_knows_the_watch(slurm: FakeSlurm, rig: SlurmRig) -> None:
    rig.run([rig.make("a"), rig.make("b")], **EARLY)
    done = rig.launcher().cancel(rig.sweep.path)
    assert watches(slurm) == []
    assert len(done.jobs) == 4
    assert done.left == []


def test_a_site_that_has_no_place_for_it_goes_without(slurm: FakeSlurm, rig: SlurmRig) -> None:
    slurm.set(max_submit=3)
    stages = [rig.make("a"), rig.make("b")]
    rig.run(stages, **EARLY)
    assert watches(slurm) == []
    slurm.work()
    assert rig.done(stages)
    assert len(records.attempts(rig.sweep.path, stages[0]["key"])) == 1


def test_without_it_there_is_none_and_its_value_is_checked(slurm: FakeSlurm, rig: SlurmRig) -> None:
    rig.run([rig.make("a")], pack="stage")
    assert watches(slurm) == []
    with pytest.raises(BadInput, match=r"retry\.early=perhaps"):
        rig.launcher(retry={"early": "perhaps"})
