"""A dropped checkpoint is built for one reading and leaves the disk as it was."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sweeper.errors import StageFailure
from sweeper.store import files
from sweeper.store.store import Store
from sweeper.worker import rebuild
from sweeper.worker.runner import Bench, find_stage, run_stage
from tests.stubs.stages import spec

BENCH = Bench(find=partial(find_stage, package="tests.stubs.stages"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def chain() -> list[dict[str, Any]]:
    """Two checkpoints and a score of the second."""
    first = spec(name="first")
    second = spec(name="second", parents={"model": first})
    return [first, second, spec("score", name="score", parents={"model": second})]


def recorded(store: Store, stages: list[dict[str, Any]]) -> None:
    """These stages as a plan of the home."""
    flat = {
        s["key"]: s | {"parents": {r: p["key"] for r, p in s["parents"].items()}} for s in stages
    }
    files.write_whole(store.home / "sweeps" / "demo" / "plan-1.json", {"stages": flat})


def dropped(store: Store) -> list[dict[str, Any]]:
    """The chain, all done, its checkpoints dropped."""
    stages = chain()
    run_stage(stages[-1], store, BENCH)
    recorded(store, stages)
    for one in stages[:2]:
        store.drop_bulk(one)
    return stages


def test_what_was_built_for_it_goes_again(store: Store) -> None:
    first, second, _ = dropped(store)
    needed = rebuild.missing(second, store)
    assert [one["key"] for one in needed.stages] == [first["key"], second["key"]]
    assert needed.seconds is not None
    with rebuild.at_hand(second, store, keep="drop", bench=BENCH) as output:
        assert (output / "checkpoint" / "weights.bin").is_file()
    assert not any(store.bulk_bytes(one) for one in (first, second))
    assert rebuild.missing(second, store).stages == needed.stages


def test_it_goes_when_the_reading_fails_too(store: Store) -> None:
    first, second, _ = dropped(store)
    with pytest.raises(KeyboardInterrupt), rebuild.at_hand(second, store, keep="drop", bench=BENCH):
        raise KeyboardInterrupt
    assert not any(store.bulk_bytes(one) for one in (first, second))


def test_what_was_there_stays(store: Store) -> None:
    first, second, _ = dropped(store)
    run_stage(first, store, BENCH, bulk=True)
    assert [one["key"] for one in rebuild.missing(second, store).stages] == [second["key"]]
    with rebuild.at_hand(second, store, keep="drop", bench=BENCH):
        pass
    assert store.has_bulk(first)
    assert not store.has_bulk(second)


def test_what_the_policy_keeps_or_a_stage_still_reads_stays(store: Store) -> None:
    first, second, score = dropped(store)
    with rebuild.at_hand(second, store, keep="keep", bench=BENCH):
        pass
    assert store.has_bulk(first)
    assert store.has_bulk(second)
    for one in (first, second):
        store.drop_bulk(one)
    files.remove(store.path(score))  # it is to be scored again, by somebody else, at this moment
    with rebuild.at_hand(second, store, keep="drop", bench=BENCH):
        pass
    assert not store.has_bulk(first)
    assert store.has_bulk(second)


def test_what_was_never_made_has_no_known_time(store: Store) -> None:
    *_, second, _ = chain()
    assert rebuild.missing(second, store).seconds is None
    failing = spec(name="never", do="fail")
    with pytest.raises(StageFailure), rebuild.at_hand(failing, store, keep="drop", bench=BENCH):
        pass
