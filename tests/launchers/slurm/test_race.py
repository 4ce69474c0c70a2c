"""A race on a cluster: the last job of a look decides it and submits the next; nothing stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launchers.slurm.repair import Round
from sweeper.planning.race import state
from sweeper.planning.race.state import State
from sweeper.planning.sweep import Sweep
from sweeper.results import launcher_record
from sweeper.results.race import advance
from tests import race_rig
from tests.launchers.fake_slurm import FakeSlurm
from tests.stubs import kinds
from tests.stubs import race as stub

OPTIONS = [
    "hydra/launcher=slurm",
    "hydra.launcher.gpus_per_node=0",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1",
    "hydra.launcher.kinds={round:{gpus_per_node:0,mem_gb:1}}",
    "hydra.launcher.stages=tests.stubs.race",
    "hydra.launcher.collect=[]",
    "hydra.launcher.array_parallelism=2",
    "tracking.enabled=false",
]


class Cluster:
    """A sweep that was submitted once; jobs are carried out in this process."""

    def __init__(self, slurm: FakeSlurm, root: Path, *options: str) -> None:
        self.slurm, self.sweep = slurm, Sweep(root / "home", "raced")
        model = kinds.model(root / "model")
        self.words = [
            f"home={root / 'home'}",
            "name=raced",
            *race_rig.words(model, "tasks/race=default", *OPTIONS, *options),
        ]

    def isorate(self, verb: str, *more: str) -> subprocess.CompletedProcess[str]:
        """A command of a shell."""
        command = [sys.executable, "-m", "sweeper", verb, *self.words, *more]
        return subprocess.run(command, capture_output=True, text=True)

    @property
    def now(self) -> State:
        """The race."""
        found = state.read(self.sweep.path)
        assert found is not None
        return found

    def rounds(self) -> list[dict[str, Any]]:
        """What last jobs left."""
        return list(launcher_record.rounds(self.sweep.path))


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two looks and what was asked at them."""
    monkeypatch.setenv("RACE_DOCUMENTS", "200")
    monkeypatch.setenv("RACE_JOURNAL", str(tmp_path / "journal"))
    return tmp_path / "journal"


def documents(journal: Path) -> int:
    return sum(path.stat().st_size for path in journal.iterdir())


def as_recorded(now: State) -> int:
    return sum(n or stub.documents() for tasks in now.limits.values() for n in tasks.values())


@pytest.mark.parametrize("pack", ["cell", pytest.param("pull", marks=pytest.mark.slow)])
def test_each_look_submits_the_next_one(
    slurm: FakeSlurm, tmp_path: Path, journal: Path, pack: str
) -> None:
    cluster = Cluster(slurm, tmp_path, f"hydra.launcher.pack={pack}")
    done = cluster.isorate("run")
    assert done.returncode == 0, done.stderr
    assert cluster.now.number == 0
    assert "the dense cell is asked all documents first" in done.stdout
    slurm.work()
    now = cluster.now
    assert now.over
    assert documents(journal) == as_recorded(now)
    looks = [found["race"]["look"] for found in cluster.rounds()]
    assert looks == [1, 2, 3]
    assert [bool(found["race"]["submitted"]) for found in cluster.rounds()] == [True, True, False]
    assert len(launcher_record.submissions(cluster.sweep.path)) == 3, "look 0 to 2, each once"


def test_a_killed_job_of_a_look_is_repaired_and_the_race_goes_on(
    slurm: FakeSlurm, tmp_path: Path, journal: Path
) -> None:
    cluster = Cluster(slurm, tmp_path)
    assert cluster.isorate("run").returncode == 0
    while cluster.now.number < 2:
        slurm.start(slurm.ready()[0])
    victim = slurm.ready()[0]
    slurm.end(victim, "FAILED", code="0:9")
    slurm.work()
    now = cluster.now
    assert now.over
    assert documents(journal) == as_recorded(now)
    assert sum(bool(found["resubmitted"]) for found in cluster.rounds()) == 1


def test_a_last_job_that_is_killed_and_started_again_submits_once(
    slurm: FakeSlurm, tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the decision and before the submission; then after the submission."""
    cluster = Cluster(slurm, tmp_path)
    assert cluster.isorate("run").returncode == 0
    round_ = _until_round(slurm)

    class Killed(BaseException):
        """What SIGKILL is to the process."""

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(advance, "specs", kill)
        with pytest.raises(Killed):
            round_()
    assert cluster.now.number == 1
    assert len(launcher_record.submissions(cluster.sweep.path)) == 1
    with monkeypatch.context() as patched:
        patched.setattr("launchers.slurm.repair.accounting", kill)
        with pytest.raises(Killed):
            round_()
    assert len(launcher_record.submissions(cluster.sweep.path)) == 2
    round_()
    assert len(launcher_record.submissions(cluster.sweep.path)) == 2
    slurm.work()
    assert cluster.now.over
    assert documents(journal) == as_recorded(cluster.now)


def _until_round(slurm: FakeSlurm) -> Round:
    """Carry out jobs until the last one is to come; it is taken off the queue and returned."""
    import cloudpickle

    while not (job := slurm.ready()[0]) or not slurm.jobs[job]["name"].endswith("-round"):
        slurm.start(job)
    entry = slurm.jobs[job]
    with (Path(entry["folder"]) / f"{job}_submitted.pkl").open("rb") as file:
        found: Round = cloudpickle.load(file).function
    slurm.end(job, "COMPLETED")
    return found


@pytest.mark.slow
def test_run_takes_up_a_race_whose_last_job_never_came(
    slurm: FakeSlurm, tmp_path: Path, journal: Path
) -> None:
    cluster = Cluster(slurm, tmp_path)
    assert cluster.isorate("run").returncode == 0
    _until_round(slurm)
    assert cluster.now.number == 0
    told = json.loads(cluster.isorate("status", "output=json").stdout)
    assert told["race"]["look"] == 0
    assert told["race"]["over"] is False
    again = cluster.isorate("run")
    assert again.returncode == 0, again.stderr
    assert cluster.now.number == 1
    slurm.work()
    assert cluster.now.over
    assert documents(journal) == as_recorded(cluster.now)


@pytest.mark.slow
def test_what_was_given_up_is_not_submitted_again_by_itself(
    slurm: FakeSlurm, tmp_path: Path
) -> None:
    cluster = Cluster(slurm, tmp_path, "hydra.launcher.retry={rounds:0}")
    assert cluster.isorate("run").returncode == 0
    while cluster.now.number < 1:
        slurm.start(slurm.ready()[0])
    slurm.end(slurm.ready()[0], "FAILED", code="0:9")
    slurm.work()
    assert cluster.now.number == 1
    assert not slurm.ready()
    assert cluster.isorate("status").returncode == 1
    assert cluster.isorate("run").returncode == 0
    slurm.work()
    assert cluster.now.over
