"""A submitted sweep from the command line: every command a process of its own, SLURM a script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from isorate.overrides import override
from sweeper.cli.commands import work
from tests import tiny
from tests.launchers.fake_slurm import FakeSlurm

OPTIONS = [
    "hydra/launcher=slurm",
    "hydra.launcher.gpus_per_node=0",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1",
    "hydra.launcher.kinds={round:{gpus_per_node:0,mem_gb:1}}",
    "hydra.launcher.stages=tests.stubs.cells",
    "hydra.launcher.startup_s=0",
]
GRID = ["prune.sparsity=0,50", "quant.bits=16,4"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("tiny")
    tiny.make(folder / "model")
    tiny.text(folder / "text.txt")
    return [
        "model=custom",
        f"model.id={folder}/model",
        "model.group_size=64",
        "calibration.name=t",
        f"calibration.path={folder}/text.txt",
        "calibration.samples=4",
        "calibration.length=64",
        "tasks.names=[demo_agreement]",
        "tasks.limit=16",
        "tracking.enabled=false",
    ]


class Shell:
    """A login node's shell."""

    def __init__(self, home: Path, model: list[str]) -> None:
        self.home, self._model = home, model

    def words(self, verb: str, *more: str) -> list[str]:
        return [sys.executable, "-m", "sweeper", verb, "name=s", f"home={self.home}", *more]

    def __call__(self, verb: str, *more: str, status: int = 0) -> Any:
        done = subprocess.run(self.words(verb, *more), capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def run(self, *grid: str, verb: str = "run", status: int = 0) -> Any:
        return self(verb, *self._model, *OPTIONS, *grid, status=status)

    def states(self, status: int) -> dict[str, dict[str, Any]]:
        answer = json.loads(self("status", "output=json", status=status).stdout)
        return {cell["label"]: cell for cell in answer["cells"]}


@pytest.fixture
def shell(tmp_path: Path, model: list[str]) -> Shell:
    return Shell(tmp_path / "home", model)


def work_jobs(slurm: FakeSlurm) -> list[str]:
    return [job for job, e in slurm.jobs.items() if not e["name"].endswith("-round")]


def test_a_sweep_is_followed_from_other_shells(slurm: FakeSlurm, shell: Shell) -> None:
    planned = shell.run(*GRID, verb="plan").stdout
    assert "Jobs:   5 in 2 arrays" in planned
    assert "at most, by the time they ask for: nothing is measured yet" in planned
    assert "of work" not in planned, "one figure of hours, not a second one beside it"
    assert "at the peak (checkpoints=drop, by the last job)" in planned
    dropped, kept = (
        json.loads(shell.run(*GRID, "output=json", f"checkpoints={policy}", verb="plan").stdout)
        for policy in ("drop", "keep")
    )
    key = "peak_checkpoint_bytes"
    assert dropped["cost"][key] == kept["cost"][key] > 0
    assert dropped["jobs"]["sources"] == {"requested": 5}
    assert slurm.jobs == {}
    submitted = shell.run(*GRID, "tracking.enabled=true")
    assert "submitted 11 stages as 5 jobs" in submitted.stderr
    assert "Reported and logged by the last job" in submitted.stdout
    assert not (shell.home / "mlflow.db").exists(), "the prompt is not kept waiting"
    assert {cell["status"] for cell in shell.states(1).values()} == {"queued"}
    again = shell.run(*GRID, "output=json")
    assert json.loads(again.stdout)["tracking"] == {"enabled": False, "later": True}
    assert "nothing to submit; 11 stages are queued" in again.stderr
    assert slurm.calls("sbatch") == 3, "two arrays and the round, once"

    prune = next(j for j in slurm.ready() if "aftercorr" not in str(slurm.jobs[j]["options"]))
    slurm.start(prune)
    before = slurm.calls("sacct")
    text = shell("status", status=1).stdout
    assert slurm.calls("sacct") == before + 1
    assert "GPU hours" in text
    assert "waits for jobs of higher priority" in text

    watching = subprocess.Popen(shell.words("status", "watch=true"), stdout=subprocess.PIPE)
    assert watching.stdout is not None
    assert any(b"queued" in line for line in watching.stdout), "the first picture"
    slurm.work()
    last = watching.communicate(timeout=60)[0].decode()
    assert watching.returncode == 0
    assert "4 done" in last
    cells = shell.states(0)
    assert all(cell["gpu_hours"] >= 0 for cell in cells.values())
    logs = shell("logs", "cell='50% + 4bit'").stdout
    assert "==> prune, job" in logs
    assert "prune at work" in logs
    assert "quantize at work" in logs


def test_any_machine_works_on_a_sweep(shell: Shell) -> None:
    """Two processes of a plain shell, each with the same line; a third finds nothing to do."""
    own = [*shell._model, "+hydra.launcher.stages=tests.stubs.cells", *GRID]
    both = [subprocess.Popen(shell.words("work", *own), stdout=subprocess.PIPE) for _ in range(2)]
    assert sorted(process.wait(100) for process in both) in ([0, 0], [0, 1])
    assert {cell["status"] for cell in shell.states(0).values()} == {"done"}
    last = json.loads(shell("work", "output=json").stdout)
    assert last["made"] == []
    assert len(last["cells"]) == 4
    assert "works" not in shell("cancel", status=2).stderr
    assert (
        "leave hydra/launcher out" in shell("work", "hydra/launcher=slurm", status=2).stderr.lower()
    )


def test_a_run_that_waits_ends_with_the_sweeps_status(slurm: FakeSlurm, shell: Shell) -> None:
    words = shell.words("run", *shell._model, *OPTIONS, "quant.bits=4", "wait=true")
    waiting = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert waiting.stderr is not None
    assert any(b"follows them" in line for line in waiting.stderr)
    slurm.work()
    assert waiting.wait(60) == 0
    assert {cell["status"] for cell in shell.states(0).values()} == {"done"}


def test_watching_ends_when_nothing_more_happens(slurm: FakeSlurm, shell: Shell) -> None:
    shell.run("quant.bits=4")
    watching = subprocess.Popen(shell.words("status", "watch=true"), stdout=subprocess.PIPE)
    waits = subprocess.Popen(
        shell.words("run", *shell._model, *OPTIONS, "quant.bits=4", "wait=true"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert watching.stdout is not None
    assert any(b"queued" in line for line in watching.stdout)
    shell("cancel")
    assert watching.wait(60) == 1
    assert waits.wait(60) == 1
    advice = shell.run("quant.bits=8", verb="retry", status=2).stderr
    assert "It was run with: hydra/launcher=slurm" in advice


def test_the_round_finds_a_home_of_any_name(
    slurm: FakeSlurm, tmp_path: Path, model: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = Shell(tmp_path / "Größe 50% #1, 'x'", model)
    home = override("home", str(shell.home))
    shell.words = lambda verb, *more: [  # type: ignore[method-assign]
        sys.executable,
        "-m",
        "sweeper",
        verb,
        "name=s",
        home,
        *more,
    ]
    monkeypatch.undo()
    monkeypatch.setenv("PATH", f"{slurm.root / 'bin'}:{os.environ['PATH']}")
    shell.run("quant.bits=16")
    slurm.work()
    (done,) = (json.loads(p.read_text()) for p in shell.home.glob("sweeps/s/jobs/*.round.json"))
    assert done["verbs"]["sync"] == 0


def test_cancel_and_go_on(slurm: FakeSlurm, shell: Shell) -> None:
    shell.run("quant.bits=4")
    ended = shell("cancel", "output=json")
    done = json.loads(ended.stdout)
    assert sorted(done["cancelled"]) == sorted(slurm.jobs)
    assert f"Cancelling {len(slurm.jobs)} jobs of s: {' '.join(done['cancelled'])}" in ended.stderr
    assert slurm.ready() == []
    (cell,) = shell.states(1).values()
    assert cell["status"] == "ended"
    assert "cancelled by user 1000" in cell["reason"]
    shell.run("quant.bits=4")
    slurm.work()
    assert shell.states(0)["4bit"]["status"] == "done"

    for path in (shell.home / "sweeps" / "s" / "jobs").glob("*.json"):
        path.unlink()
    assert "nothing of it was submitted" in shell("cancel", status=2).stderr


def test_a_failed_cell_waits_for_retry(
    slurm: FakeSlurm, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_FAIL", "quantize")
    shell.run("quant.bits=4")
    slurm.work()
    (cell,) = shell.states(1).values()
    assert cell["status"] == "failed"
    assert "the Hessian cannot be inverted" in cell["reason"]
    jobs = work_jobs(slurm)
    shell.run("quant.bits=4", status=1)
    assert work_jobs(slurm) == jobs, "a cell at fault is not tried again by itself"
    monkeypatch.setenv("STUB_FAIL", "")
    assert "1 failures forgotten" in shell.run("quant.bits=4", verb="retry").stderr
    slurm.work()
    assert shell.states(0)["4bit"]["status"] == "done"


def test_a_worker_may_make_all_that_cells_rest_on() -> None:
    """A conversion, say, which no cell names itself."""
    convert: dict[str, Any] = {"key": "c", "parents": {}}
    prune = {"key": "p", "parents": {"model": convert}}
    score = {"key": "t", "parents": {"model": prune, "source": convert}}
    assert work._with_ancestors([score]) == {"c", "p", "t"}
