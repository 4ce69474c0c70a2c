"""Memory: the front end's own does not grow with what is done; a worker that ran out of it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import tests
from launchers.local import devices
from launchers.local.launcher import LocalLauncher
from sweeper.store.store import Store
from tests.faults import tally
from tests.stubs.stages import spec

pytestmark = pytest.mark.faults
FEW, MANY = 100, 1000


class Silent:
    """Watches, and keeps only what people were told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def begin(self, stages: Any, known: Any) -> None:
        """No matter."""

    def started(self, spec: Any, where: str) -> None:
        """No matter."""

    def progress(self, spec: Any, fraction: float, note: str) -> None:
        """No matter."""

    def ended(self, spec: Any, outcome: Any) -> None:
        """No matter."""

    def say(self, message: str) -> None:
        """The one thing that is kept."""
        self.said.append(message)

    def close(self) -> None:
        """No matter."""


@pytest.fixture(autouse=True)
def stub_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find them wherever pytest was started."""
    monkeypatch.setenv("PYTHONPATH", str(Path(tests.__file__).parent.parent))


def test_the_front_end_does_not_grow_with_the_number_of_cells_done(home: Path) -> None:
    """What is left of a finished stage is its outcome: well below 1 kB, whatever it printed."""
    stages = [spec("score", name=f"s{n}", note="x" * 100) for n in range(MANY)]
    held: list[int] = []
    launcher = LocalLauncher(workers=1, stages="tests.stubs.stages")
    done = 0

    def on_done(_stage: Any) -> None:
        nonlocal done
        done += 1
        if done in (FEW, MANY):
            held.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        outcome = launcher.carry_out(
            stages, Store(home), observer=Silent(), logs=home / "logs", on_done=on_done
        )
    finally:
        tracemalloc.stop()
    assert outcome.ok
    few, many = held
    assert (many - few) / (MANY - FEW) < 1000
    tally.survived(f"stages done without growth ({(many - few) / (MANY - FEW):.0f} bytes each)")


@pytest.mark.parametrize(("retries", "state"), [(1, "done"), (0, "ended")])
def test_a_worker_that_the_kernel_killed_for_memory(
    retries: int, state: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real SIGKILL; that the kernel counts it as its own is simulated."""
    once = tmp_path / "once"
    monkeypatch.setattr(devices, "oom_kills", lambda: int(once.exists()))
    stage = spec(name="large", do="kill", once=str(once))
    watching = Silent()
    launcher = LocalLauncher(workers=2, stages="tests.stubs.stages", retries=retries)
    outcome = launcher.carry_out(
        [stage, spec(name="other", sleep=0.1)], Store(home), observer=watching, logs=home / "logs"
    )
    found = outcome.stages[stage["key"]]
    assert found.state == state
    heard = [*watching.said, found.reason]
    assert any("the system ran out of memory" in text for text in heard)
    assert any("going on with 1 worker(s) at a time" in text for text in heard)
    assert Store(home).failure(stage) is None, "no fault of the cell"
    assert not list(Store(home).tmp.iterdir())
    tally.survived("a worker killed for want of memory (the kernel's record simulated)")
