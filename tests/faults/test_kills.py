"""Killed again and again at random moments, a sweep still ends with every output exactly once.

``ISORATE_FAULT_ROUNDS`` sets how many sweeps are tormented (default 2).
"""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import tests
from sweeper.store.store import Store
from tests.faults import tally
from tests.stubs.stages import spec

ROUNDS = int(os.environ.get("ISORATE_FAULT_ROUNDS", "2"))
PATIENCE_S = 240.0
"""On a machine with far more to do than cores a front end takes minutes to start or to end."""
FRONT_END = """
import pickle, sys
from pathlib import Path
from launchers.local.launcher import LocalLauncher
from launchers.local.progress import Lines
from sweeper.store.store import Store
home, plan = map(Path, sys.argv[1:3])
launcher = LocalLauncher(workers=int(sys.argv[3]), stages="tests.stubs.stages", retries=5)
stages = pickle.loads(plan.read_bytes())
outcome = launcher.carry_out(stages, Store(home), observer=Lines(), logs=home / "logs")
sys.exit(0 if outcome.ok else 1)
"""


def plan(rng: random.Random) -> list[dict[str, Any]]:
    def seconds() -> float:
        return rng.choice([0.0, 0.02, 0.1])

    prunes = [spec(name=f"p{n}", sleep=seconds()) for n in range(3)]
    quants = [
        spec(name=f"q{n}", sleep=seconds(), parents={"model": p}) for n in range(3) for p in prunes
    ]
    scores = [
        spec("score", name=f"s{n}", sleep=seconds(), parents={"model": c})
        for n in range(2)
        for c in [*prunes, *quants]
    ]
    return [*scores, *quants, *prunes]


def torment(process: subprocess.Popen[bytes], rng: random.Random) -> None:
    """Kill some workers, then the front end, then whatever outlives it for a moment."""
    time.sleep(rng.uniform(0.2, 1.5))
    with contextlib.suppress(psutil.NoSuchProcess):
        for worker in psutil.Process(process.pid).children():
            if rng.random() < 0.4:
                worker.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
    time.sleep(rng.uniform(0.0, 0.3))
    process.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
    process.wait(PATIENCE_S)


def outputs(store: Store, stages: list[dict[str, Any]]) -> dict[str, Any]:
    """Hash of every file of every stage but of those that name the process."""
    found = {}
    for stage in stages:
        store.verify(stage, full=True)
        manifest = store.manifest(stage)
        assert manifest is not None
        files = {k: v["sha256"] for k, v in manifest["files"].items() if k != "result.json"}
        found[stage["key"]] = files
    return found


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_kills_at_random_moments(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(tests.__file__).parent.parent))
    rng = random.Random(seed)
    stages = plan(rng)
    (tmp_path / "plan").write_bytes(pickle.dumps(stages))

    def start(home: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", FRONT_END, str(home), str(tmp_path / "plan"), "3"]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)

    for _ in range(4):
        torment(start(tmp_path / "home"), rng)
    assert start(tmp_path / "home").wait(PATIENCE_S) == 0
    assert start(tmp_path / "calm").wait(PATIENCE_S) == 0
    store = Store(tmp_path / "home")
    assert outputs(store, stages) == outputs(Store(tmp_path / "calm"), stages)
    assert {p.name for p in store.tmp.iterdir()} == set()
    kinds = {name: store.listing(name) for name in ("make", "score")}
    assert set().union(*(k.done for k in kinds.values())) == {s["key"] for s in stages}
    assert not any(k.failed for k in kinds.values())
    assert not [p for p in store.root.rglob("*") if "damaged" in p.name]
    tally.survived("a front end of stub stages killed, most with some of its workers", 4)
