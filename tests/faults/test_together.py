"""Many at once on one store: each output once, nobody in another's way."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import tests
from sweeper.store import files, manifest
from sweeper.store.store import Store
from sweeper.worker.runner import run_stage
from tests.faults import tally
from tests.faults.deeds import BENCH, PRUNE, QUANTIZE
from tests.faults.test_kills import FRONT_END, PATIENCE_S, outputs
from tests.stubs.stages import spec


def front_end(
    home: Path, plan: Path, stages: list[dict[str, Any]], *, workers: int = 2
) -> subprocess.Popen[bytes]:
    """One that carries out these stages in a process of its own."""
    plan.write_bytes(pickle.dumps(stages))
    return subprocess.Popen(
        [sys.executable, "-c", FRONT_END, str(home), str(plan), str(workers)],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(tests.__file__).parent.parent)},
    )


@pytest.mark.faults
def test_eight_front_ends_on_one_sweep(home: Path, tmp_path: Path) -> None:
    journal = str(tmp_path / "journal")
    prunes = [spec(name=f"p{n}", journal=journal, sleep=0.02) for n in range(4)]
    scores = [
        spec("score", name=f"s{n}", journal=journal, parents={"model": p})
        for n in range(5)
        for p in prunes
    ]
    stages = [*scores, *prunes]
    front_ends = [front_end(home, tmp_path / f"plan{n}", stages, workers=1) for n in range(8)]
    assert [process.wait(PATIENCE_S) for process in front_ends] == [0] * 8
    store = Store(home)
    assert set(outputs(store, stages)) == {stage["key"] for stage in stages}
    assert list(store.tmp.iterdir()) == []
    assert not [p for p in store.root.rglob("*") if "damaged" in p.name]
    tally.survived("front ends on one sweep at once", 8)


def test_a_checkpoint_that_is_dropped_while_it_is_verified_is_not_damaged(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two sweeps share a checkpoint: one drops it, the other is about to read it."""
    run_stage(QUANTIZE, Store(home), BENCH)
    stop = threading.Event()

    def verify() -> None:
        while not stop.is_set():
            Store(home).present(PRUNE, bulk=True, full=True)

    readers = [threading.Thread(target=verify) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(25):
            Store(home).drop_bulk(PRUNE)
            run_stage(PRUNE, Store(home), BENCH, bulk=True)
            tally.survived("a checkpoint dropped and rebuilt while it is read")
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert "damaged" not in caplog.text
    assert not [p for p in (home / "store").rglob("*") if "damaged" in p.name]


@pytest.mark.parametrize("moment", [(manifest, "check_file"), (files, "sha256")])
def test_a_checkpoint_that_is_dropped_at_that_very_moment(
    moment: tuple[Any, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the listing and a file's size, or between its size and its bytes."""
    store = Store(home)
    run_stage(PRUNE, store, BENCH)
    genuine, dropped = getattr(*moment), []

    def drop_first(path: Path, *args: Any, **kwargs: Any) -> Any:
        if "checkpoint" in path.parts and not dropped:
            dropped.append(Store(home).drop_bulk(PRUNE))
        return genuine(path, *args, **kwargs)

    monkeypatch.setattr(*moment, drop_first)
    assert not Store(home).present(PRUNE, bulk=True, full=True)
    assert dropped
    assert dropped[0] > 0
    assert store.is_done(PRUNE)
    assert not [p for p in store.root.rglob("*") if "damaged" in p.name]
    tally.survived("a checkpoint dropped between two calls of its reader")


@pytest.mark.faults
def test_two_sweeps_at_once_share_stages(home: Path, tmp_path: Path) -> None:
    """Whoever comes first makes a checkpoint; nobody makes a finished one again."""
    journal = str(tmp_path / "journal")
    shared = [spec(name=f"shared{n}", journal=journal, sleep=0.1) for n in range(3)]
    sweeps = [
        [spec("score", name=f"own{sweep}", parents={"model": one}) for one in shared]
        for sweep in range(2)
    ]
    both = [
        front_end(home, tmp_path / f"plan{n}", [*scores, *shared])
        for n, scores in enumerate(sweeps)
    ]
    assert [process.wait(PATIENCE_S) for process in both] == [0, 0]
    every = [*shared, *sweeps[0], *sweeps[1]]
    assert set(outputs(Store(home), every)) == {stage["key"] for stage in every}
    assert list(Store(home).tmp.iterdir()) == []
    made = len(list(Path(journal).iterdir()))
    again = front_end(home, tmp_path / "plan0", [*sweeps[0], *shared])
    assert again.wait(PATIENCE_S) == 0
    assert len(list(Path(journal).iterdir())) == made >= len(shared)
    tally.survived("two sweeps at once on shared stages", 2)
