"""A real SLURM cluster on this machine, for as long as these tests run.

They need root and Debian's SLURM packages, which are installed if they are missing. So
they run only when asked for: ISORATE_TEST_SLURM=1 (`make test-slurm`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sweeper.store.store import Spec
from tests.launchers.slurm_rig import SlurmRig

SCRIPT = Path(__file__).with_name("cluster.sh")
ROOT = Path(__file__).parents[2]

collect_ignore_glob = [] if os.environ.get("ISORATE_TEST_SLURM") else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first of these tests may install packages, and a slow machine starts jobs slowly."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))


class Cluster:
    """The cluster, driven through its script."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def __call__(self, *command: str, **knobs: str) -> str:
        verb, *rest = command
        env = {**os.environ, "SLURM_LAB_MAX_ARRAY": "4", **knobs}
        done = subprocess.run(
            ["bash", str(SCRIPT), verb, str(self.state), *rest],
            env=env,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def run(self, *command: str) -> str:
        """A SLURM command."""
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        able = subprocess.run(
            ["bash", str(SCRIPT), "able"], stdout=subprocess.PIPE, text=True, check=False
        )
    if able.returncode:
        pytest.exit(f"tests/slurm cannot be run here: {able.stdout.strip()}", returncode=2)
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    state = Path("/tmp") / f"isorate-slurm-{os.getpid()}"  # short: unix sockets end at 107 letters
    lab = Cluster(state)
    before = dict(os.environ)
    os.environ.update(
        SLURM_CONF=str(state / "slurm.conf"), PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", PATH=path
    )
    try:
        lab("up")
        yield lab
    finally:
        lab("down")
        shutil.rmtree(state, ignore_errors=True)
        os.environ.clear()
        os.environ.update(before)


class Rig(SlurmRig):
    """A sweep of stub stages on the real cluster."""

    def launcher(self, **options: object) -> object:  # type: ignore[override]
        given = {"stages": "tests.stubs.slurm", "collect": [], "patience_s": 60.0, "mem_gb": 0.25}
        return super().launcher(**(given | options))

    def wait(self, stages: Sequence[Spec], seconds: float = 300.0) -> None:
        """Until all are committed and the last round is over."""
        self.until(lambda: self.done(stages), seconds)

    def until(self, true: Callable[[], bool], seconds: float = 300.0) -> None:
        """Until something holds; else say what became of the stages."""
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                table = self.table()
                lines = [f"{s.state} {s.cause} {s.job}: {s.reason}" for s in table.stages.values()]
                raise AssertionError("\n".join([f"not within {seconds} s", table.note, *lines]))
            time.sleep(0.3)

    def running(self, stage: Spec) -> bool:
        """Whether an attempt of a stage has begun."""
        return self.state(stage).state == "running"


@pytest.fixture
def rig(cluster: Cluster, tmp_path: Path) -> Rig:
    return Rig(tmp_path)
