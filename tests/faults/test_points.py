"""Death or an error at every single call to the file system, in turn: nothing is ever lost.

``ISORATE_FAULTS=all`` tries every point; otherwise every few dozenth is tried.
"""

from __future__ import annotations

import errno
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sweeper.errors import IsorateError
from sweeper.store.store import Store
from tests.faults import deeds, points, tally
from tests.faults.deeds import DEEDS, Deed

REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
EACH = pytest.mark.parametrize("deed", DEEDS, ids=lambda d: d.name.replace(" ", "-"))


def chosen(count: int, seed: str) -> Iterator[int]:
    """Points from 1 to ``count``: all, or a seeded few."""
    few = 4
    if os.environ.get("ISORATE_FAULTS") == "all" or count <= few:
        return iter(range(1, count + 1))
    return iter(sorted(random.Random(seed).sample(range(1, count + 1), few)))


def calls_of(deed: Deed, home: Path, *, reads: bool) -> list[str]:
    """The calls that a deed makes in peace, what is cached on the first time left out."""
    deed.act(deeds.fresh(home, deed))
    store = deeds.fresh(home, deed)
    with points.Calls(points.kill, reads=reads).in_force() as calls:
        deed.act(store)
    return calls.seen


def in_child(act: Callable[[], None]) -> int:
    """Run something in a forked process: 0, 1 if it raised, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        status = 1
        with suppress(BaseException):
            act()
            status = 0
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def disturb(deed: Deed, home: Path, faults: points.Calls) -> int:
    """Do a deed in a process of its own while things break; how that ended.

    Finished work is still there, made by the same attempts: a fault damages nothing.
    """
    store = deeds.fresh(home, deed)
    finished = deeds.commits(home)

    def disturbed() -> None:
        with suppress(OSError, IsorateError), faults.in_force():
            deed.act(store)

    status = in_child(disturbed)
    assert finished.items() <= deeds.commits(home).items(), "finished work was lost"
    return status


def holds(deed: Deed, home: Path, peace: dict[str, object], where: str) -> None:
    """Done again, the deed ends as in peace, and what was finished before is the same still."""
    before = deeds.commits(home)
    deed.act(Store(home))
    assert deeds.state(home) == peace, where
    after = deeds.commits(home)
    assert before.items() <= after.items(), f"finished work was done again: {where}"
    Store(home).gc(older_than_s=-1.0)
    assert deeds.temporaries(home) == [], where


@EACH
def test_a_kill_at_every_call(deed: Deed, home: Path) -> None:
    calls = calls_of(deed, home, reads=True)
    peace = deeds.state(home)
    for n in chosen(len(calls), deed.name):
        assert disturb(deed, home, points.Calls(points.kill, n)) == -signal.SIGKILL
        holds(deed, home, peace, f"{deed.name}, killed at call {n}, {calls[n - 1]}")
        tally.survived("kill -9 at a call to the file system")


@EACH
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.get)
def test_a_disk_that_refuses_every_write(
    deed: Deed, number: int, lasting: bool, home: Path
) -> None:
    calls = calls_of(deed, home, reads=False)
    peace = deeds.state(home)
    for n in chosen(len(calls), f"{deed.name}{number}{lasting}"):
        faults = points.Calls(points.error(number), n, on=lasting, reads=False)
        assert disturb(deed, home, faults) == 0
        name = errno.errorcode[number]
        holds(deed, home, peace, f"{deed.name}, {name} at call {n}, {calls[n - 1]}")
        tally.survived(f"{name} at a write")


@EACH
def test_a_disk_that_stutters_at_every_call(deed: Deed, home: Path) -> None:
    """A read error is no damage: nothing finished is set aside for it."""
    calls = calls_of(deed, home, reads=True)
    peace = deeds.state(home)
    for n in chosen(len(calls), f"{deed.name}EIO"):
        assert disturb(deed, home, points.Calls(points.error(errno.EIO), n)) == 0
        holds(deed, home, peace, f"{deed.name}, EIO at call {n}, {calls[n - 1]}")
        tally.survived("EIO at a call to the file system")
