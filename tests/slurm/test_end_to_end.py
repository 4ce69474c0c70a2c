"""A real sweep of a tiny model: the cluster scores what the local launcher scores, to the byte."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeper.planning.race import state
from sweeper.planning.sweep import Sweep
from sweeper.results import launcher_record
from tests import tiny
from tests.slurm import same
from tests.slurm.conftest import Cluster
from tests.stubs import kinds

SMALL = [
    "hydra/launcher=slurm",
    "hydra.launcher.gpus_per_node=0",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=2",
    "hydra.launcher.timeout_min=10",
    "hydra.launcher.collect=[report]",
    "hydra.launcher.kinds={round:{gpus_per_node:0,cpus_per_task:1,mem_gb:2,timeout_min:10}}",
    "hydra.launcher.array_parallelism=2",
]


def isorate(verb: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sweeper", verb, "name=tiny", f"home={home}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("tiny")
    tiny.make(folder / "model")
    tiny.text(folder / "text.txt")
    return [
        "model=custom",
        f"model.id={folder}/model",
        "model.group_size=64",
        "prune.sparsity=0,50",
        "quant.bits=16,4",
        "calibration.name=t",
        f"calibration.path={folder}/text.txt",
        "calibration.samples=4",
        "calibration.length=64",
        "tasks.names=[demo_agreement]",
        "tasks.limit=16",
        "tracking.enabled=false",
    ]


def test_the_cluster_and_this_machine_agree(
    cluster: Cluster, grid: list[str], tmp_path: Path
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    submitted = isorate("run", there, *grid, *SMALL)
    assert "submitted 11 stages as 2 jobs in 1 arrays" in submitted.stderr, submitted.stderr
    local = isorate("run", here, *grid, "hydra.launcher.workers=1")
    assert local.returncode == 0, local.stderr
    sweep = Sweep(there, "tiny")
    _until_round(sweep, cluster)
    (done,) = launcher_record.rounds(sweep.path)
    assert done["verbs"] == {"report": 0}
    assert same.results(there) == same.results(here)
    assert same.files(there) == same.files(here)
    assert same.answers(there) == same.answers(here)
    assert len(same.results(here)) == 11
    assert isorate("status", there).returncode == 0
    tables = [same.tables(home, "tiny") for home in (there, here)]
    assert same.different(*tables) == []
    assert {"data/scores.csv", "data/retention.csv", "tables/scores.md"} <= tables[0].keys()
    again = isorate("run", there, *grid, *SMALL)
    assert again.returncode == 0
    assert "nothing to submit" in again.stderr


def _until_round(sweep: Sweep, cluster: Cluster) -> None:
    for _ in range(480):
        found = launcher_record.rounds(sweep.path)
        if found and "verbs" in found[-1]:
            return
        time.sleep(1)
    raise AssertionError(cluster.run("squeue") + json.dumps(launcher_record.rounds(sweep.path)))


def test_a_cancelled_sweep_is_cancelled_from_anywhere(
    cluster: Cluster, grid: list[str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    held = [*SMALL, "+hydra.launcher.additional_parameters.hold=true", "hydra.launcher.startup_s=0"]
    isorate("run", home, *grid, *held)
    assert cluster.run("squeue", "-h", "-r").count("tiny") >= 5
    done = isorate("cancel", home, "output=json")
    cancelled = json.loads(done.stdout)["cancelled"]
    assert len(cancelled) == 6, done.stderr
    ours = {str(job).partition("_")[0] for job in cancelled}

    def left() -> set[str]:
        """Of these jobs, those that still wait or run; a test before may have left others."""
        listed = cluster.run("squeue", "-h", "-r", "-t", "PD,R", "-o", "%i").split()
        return {job.partition("_")[0] for job in listed} & ours

    # scancel returns before the controller has let go of all that waited for what it cancelled.
    until = time.monotonic() + 60
    while left() and time.monotonic() < until:
        time.sleep(0.5)
    assert not left()


def test_what_the_cluster_cannot_do_is_refused(
    cluster: Cluster, grid: list[str], tmp_path: Path
) -> None:
    refused = isorate("run", tmp_path / "home", *grid, *SMALL, "hydra.launcher.partition=gpux")
    assert refused.returncode == 2
    assert "hydra.launcher.partition=gpux: valid: gpu, preempt." in refused.stderr


RACED = [
    "tasks.names=[demo_agreement,demo_endings]",
    "prune.sparsity=0,50",
    "prune.pattern=unstructured,2:4",
    "quant.bits=16,8",
    "tasks/race=default",
]


def test_a_race_on_the_cluster_decides_as_here_with_one_job_killed(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn documents instead of a model: every look on the cluster, its last job submits the next.

    An evaluation of the second look is killed with its job; what is decided is decided the same.
    """
    model = kinds.model(tmp_path / "model")
    words = [
        *("model=custom", f"model.id={model}", "model.name=tiny", "model.group_size=32"),
        *("calibration.samples=4", "calibration.length=32", "tracking.enabled=false"),
        *RACED,
    ]
    there, here = tmp_path / "there", tmp_path / "here"
    monkeypatch.setenv("RACE_DOCUMENTS", "200")
    local = isorate("run", here, *words, "+hydra.launcher.stages=tests.stubs.race")
    assert local.returncode == 0, local.stderr
    monkeypatch.setenv("RACE_JOURNAL", str(tmp_path / "journal"))
    monkeypatch.setenv("RACE_KILL", "unstructured/16")
    options = [*SMALL[:-1], "hydra.launcher.stages=tests.stubs.race", "hydra.launcher.collect=[]"]
    submitted = isorate("run", there, *words, *options)
    assert submitted.returncode == 0, submitted.stderr
    ours, theirs = Sweep(there, "tiny"), Sweep(here, "tiny")
    for _ in range(480):
        now = state.read(ours.path)
        if now is not None and now.over:
            break
        time.sleep(1)
    assert now is not None
    assert now.over, cluster.run("squeue")
    assert any(found["resubmitted"] for found in launcher_record.rounds(ours.path)), (
        "one was killed"
    )
    reference = state.read(theirs.path)
    assert reference is not None
    written = ("created", "host", "user")
    for one, other in zip(now.looks, reference.looks, strict=True):
        assert {k: v for k, v in one.items() if k not in written} == {
            k: v for k, v in other.items() if k not in written
        }
    asked = sum(path.stat().st_size for path in (tmp_path / "journal").iterdir())
    assert asked == sum(n or 200 for tasks in now.limits.values() for n in tasks.values())
