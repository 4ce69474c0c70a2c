"""What happens to files after their commit is noticed before anybody reads them."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from sweeper.store.store import Store
from sweeper.worker.runner import run_stage
from tests.faults import deeds, tally
from tests.faults.deeds import BENCH, LATER, PRUNE, Deed

ROUNDS = 60 if os.environ.get("ISORATE_FAULTS") == "all" else 6
CHAIN = Deed(name="chain", prepare=deeds.DEEDS[0].act, act=lambda store: None)


def peaceful(home: Path) -> dict[str, object]:
    store = deeds.fresh(home, CHAIN)
    run_stage(LATER, store, BENCH)
    return deeds.state(home)


def files_of(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file())


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def lose(path: Path, _rng: random.Random) -> None:
    path.unlink()


@pytest.mark.parametrize("how", [flip, cut, lose])
def test_one_damaged_file(how, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A bit anywhere, manifest included: the reader gets sound bytes or none."""
    peace = peaceful(home)
    for seed in range(ROUNDS):
        rng = random.Random(f"{how.__name__} {seed}")
        store = deeds.fresh(home, CHAIN)
        victim = rng.choice(files_of(store.path(PRUNE)))
        how(victim, rng)
        caplog.clear()
        run_stage(LATER, store, BENCH)
        assert deeds.state(home) == peace, f"{how.__name__} {seed}: {victim}"
        if victim.name != "manifest.json" or how is not lose:
            assert "damaged output" in caplog.text, f"{how.__name__} {seed}: {victim}"
        tally.survived(f"a file damaged after its commit ({how.__name__})")


def test_a_store_that_was_copied_in_part(home: Path) -> None:
    """As by a copy that was interrupted: any number of files, in any order."""
    peace = peaceful(home)
    whole = home.with_name("whole")
    shutil.copytree(home, whole)
    for seed in range(ROUNDS):
        rng = random.Random(seed)
        shutil.rmtree(home)
        there = files_of(whole)
        rng.shuffle(there)
        for file in there[: rng.randrange(len(there))]:
            target = home / file.relative_to(whole)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        store = Store(home)
        for stage in (*deeds.CHAIN, LATER):
            run_stage(stage, store, BENCH, bulk=True)
        assert deeds.state(home) == peace, seed
        tally.survived("a store copied in part")
