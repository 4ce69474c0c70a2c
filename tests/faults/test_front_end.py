"""The whole program killed at random moments: the tables and MLflow are those of a calm run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.faults import tally, whole
from tests.faults.test_kills import PATIENCE_S

KILLS = int(os.environ.get("ISORATE_FAULT_KILLS", "10"))
SLOW = {"STANDIN_SECONDS": "0.1"}

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]


def kill(process: subprocess.Popen[bytes], rng: random.Random) -> bool:
    """Kill -9 the front end, a worker or both; False if all was over before."""
    if process.poll() is not None:
        return False
    workers = psutil.Process(process.pid).children()
    if workers and rng.random() < 0.5:
        with suppress(psutil.NoSuchProcess):
            rng.choice(workers).send_signal(signal.SIGKILL)
        time.sleep(rng.uniform(0.0, 0.5))
    process.kill()
    process.wait(PATIENCE_S)
    return True


def test_a_sweep_killed_again_and_again(home: Path, tmp_path: Path) -> None:
    model = whole.model(tmp_path / "model")
    calm = tmp_path / "calm"
    began = time.monotonic()
    done = whole.isorate("run", whole.words(calm, model), env=SLOW)
    assert done.returncode == 0, done.stderr
    lasts = time.monotonic() - began
    rng, kills, there = random.Random(4711), 0, whole.finished(home)
    command = whole.command("run", whole.words(home, model, "tracking.every_s=0.3"))
    for _ in range(KILLS):
        process = subprocess.Popen(
            command,
            env=whole.environment(SLOW),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(rng.uniform(0.2, 1.0) * lasts)
        kills += kill(process, rng)
        before, there = there, whole.finished(home)
        assert before.items() <= there.items(), "finished work was lost or done again"
    done = whole.isorate("run", whole.words(home, model))
    assert done.returncode == 0, done.stderr
    assert there.items() <= whole.finished(home).items()
    assert whole.tables(home) == whole.tables(calm)
    assert whole.tracked(home) == whole.tracked(calm)
    assert set(whole.tracked(home)) == {*whole.LABELS, "whole"}
    again = whole.isorate("sync", whole.words(home, model))
    assert "0 created, 0 updated, 5 unchanged, 0 removed" in again.stdout, again.stdout
    swept = whole.isorate("gc", whole.words(home, model, "yes=true"))
    assert swept.returncode == 0, swept.stderr
    assert not list((home / "store" / "tmp").iterdir())
    assert not list((home / "store").rglob("*damaged*"))
    assert kills > 0
    tally.survived("kill -9 of the front end or a worker of a whole sweep", kills)
