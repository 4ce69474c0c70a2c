"""Other hosts and other clocks: renames that are seen late, times that jump, disks that crawl."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sweeper.store.store import Store
from sweeper.worker.runner import run_stage
from tests.faults import deeds, points, tally
from tests.faults.deeds import BENCH, PRUNE, QUANTIZE


@contextmanager
def unseen(path: Path) -> Iterator[None]:
    """This host does not see ``path`` until it opens the directory, as an NFS client may not.

    What the server does (a rename onto it, say) goes by what is really there.
    """
    genuine = {name: getattr(os, name) for name in ("stat", "lstat", "listdir", "scandir", "open")}
    hidden = [True]

    def looking(name: str) -> Any:
        def look(target: Any = ".", *args: Any, **kwargs: Any) -> Any:
            text = os.fspath(target) if isinstance(target, str | os.PathLike) else ""
            if name == "open" and text == str(path.parent):
                hidden[0] = False
            if hidden[0] and (text == str(path) or text.startswith(f"{path}/")):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)
            return genuine[name](target, *args, **kwargs)

        return look

    for name in genuine:
        setattr(os, name, looking(name))
    try:
        yield
    finally:
        for name, function in genuine.items():
            setattr(os, name, function)


def test_a_parent_that_another_host_just_made_is_not_made_again(home: Path) -> None:
    run_stage(PRUNE, Store(home), BENCH)
    made = deeds.commits(home)
    with unseen(Store(home).path(PRUNE)):
        assert not Store(home).is_done(PRUNE)
        run_stage(QUANTIZE, Store(home), BENCH)
    assert made.items() <= deeds.commits(home).items()
    tally.survived("a rename seen late")


def test_a_commit_that_was_overtaken_unseen_is_discarded(home: Path) -> None:
    other, here = Store(home), Store(home)
    with here.attempt(PRUNE) as attempt:
        (attempt.out / "checkpoint").mkdir()
        (attempt.out / "checkpoint" / "weights.bin").write_bytes(b"late")
        run_stage(PRUNE, other, BENCH)
        made = deeds.commits(home)
        with unseen(other.path(PRUNE)):
            assert not here.commit(attempt, {}, {})
    assert deeds.commits(home) == made
    assert deeds.temporaries(home) == []
    tally.survived("a rename seen late")


@pytest.mark.parametrize("jump_s", [-30 * 86400.0, 30 * 86400.0])
def test_a_clock_that_jumps_kills_nobody(
    home: Path, jump_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt on another host is alive by the times of the file system, not by our clock."""
    store = Store(home)
    foreign = store.tmp / "key.elsewhere.4711.ab"
    foreign.mkdir(parents=True)
    genuine = time.time
    monkeypatch.setattr(time, "time", lambda: genuine() + jump_s)
    assert store.gc() == []
    assert foreign.is_dir()
    monkeypatch.setattr(time, "time", genuine)
    os.utime(foreign, (1, 1))
    assert store.gc() == [foreign]
    tally.survived("a clock that jumps by 30 days")


def test_a_clock_that_runs_backwards_makes_no_wrong_duration(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, genuine, calls = Store(home), time.time, [0.0]

    def backwards() -> float:
        calls[0] += 3600.0
        return genuine() - calls[0]

    monkeypatch.setattr(time, "time", backwards)
    run_stage(PRUNE, store, BENCH)
    manifest = store.manifest(PRUNE)
    assert manifest is not None
    assert 0 <= manifest["seconds"] < 60
    tally.survived("a clock that runs backwards")


def test_a_crawling_disk_changes_nothing_but_the_time(home: Path) -> None:
    chain = deeds.DEEDS[0]
    chain.act(deeds.fresh(home, chain))
    peace = deeds.state(home)
    store = deeds.fresh(home, chain)
    with points.Calls(lambda _: time.sleep(0.002), 1, on=True).in_force():
        chain.act(store)
    assert deeds.state(home) == peace
    tally.survived("a disk that crawls")


def test_what_gc_takes_from_a_living_attempt_is_never_committed_in_part(home: Path) -> None:
    """Whatever made us think it dead: it loses all of its files at once, and ends."""
    store = Store(home)
    with store.attempt(PRUNE) as attempt:
        (attempt.out / "checkpoint").mkdir()
        (attempt.out / "checkpoint" / "weights.bin").write_bytes(b"weights")
        store._delete(attempt.out)
        with pytest.raises(FileNotFoundError):
            store.commit(attempt, {}, {})
    assert not store.is_done(PRUNE)
