"""A real MLflow server that is down, slow, locked, in trouble, or killed in the middle of a sync.

Whatever happened: the next `sync` ends with one run for each cell, all numbers and files in
it, and the one after it changes nothing. One moment is tried; with ``ISORATE_FAULTS=all`` it
is ``ISORATE_FAULT_ROUNDS`` of each kind.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sweeper.results.mlflow import connection
from sweeper.results.mlflow import sync as syncs
from tests import tracking_data as data
from tests.faults import tally
from tests.faults.mlflow_rig import Server, Way

ALL = os.environ.get("ISORATE_FAULTS") == "all"
MOMENTS = int(os.environ.get("ISORATE_FAULT_ROUNDS", "6"))
GRID = data.GRID[:1] + data.GRID[4:6]
RUNS = len(GRID) + 1

pytestmark = pytest.mark.timeout(1800)


class Rig:
    """One sweep to be tracked, and the server to which it goes."""

    def __init__(self, home: Path, server: Server, way: Way, store: data.FakeStore) -> None:
        self.home, self.server, self.way, self.store = home, server, way, store
        self.plan: dict[str, Any] = {}

    def sweep(self, name: str) -> None:
        """Another sweep of the same cells, in an experiment of its own."""
        self.plan = data.record(GRID, name)
        data.fill(self.store, self.plan)

    def sync(self, **more: Any) -> syncs.Summary:
        """As `isorate sync` does."""
        return syncs.sync(self.plan, self.store, home=self.home, uri=self.way.uri, **more)

    def logged(self) -> dict[str, Any]:
        """What MLflow shows of each run, by name: parameters, metrics, status, files."""
        client = connection.connect(self.way.uri, self.home)
        experiment = client.get_experiment_by_name(self.plan["name"])
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        names = [run.info.run_name for run in runs]
        assert len(set(names)) == len(names) == RUNS, names
        return {self._plain(run.info.run_name): self._shown(run) for run in runs}

    def _plain(self, name: str) -> str:
        return "the sweep" if name == self.plan["name"] else name

    def _shown(self, run: Any) -> tuple[Any, ...]:
        top = self.server.artifacts / run.info.experiment_id / run.info.run_id / "artifacts"
        files = {str(p.relative_to(top)): p for p in top.rglob("*") if p.is_file()}
        sizes = {name: len(path.read_bytes()) for name, path in files.items()}
        sizes.pop("plan.json", None)  # it names the sweep
        assert files, run.info.run_name
        return run.data.params, run.data.metrics, run.info.status, run.info.end_time, sizes

    def recovers(self, wanted: dict[str, Any]) -> None:
        """One more sync mends everything, and the next has nothing to do."""
        self.way.calm()
        first = self.sync()
        assert first.complete, first.problem
        assert self.logged() == wanted
        before = self.dump()
        again = self.sync()
        assert again.complete
        assert (again.created, again.updated, again.unchanged, again.removed) == (0, 0, RUNS, 0)
        assert self.dump() == before

    def dump(self) -> list[str]:
        """All that the server holds."""
        with closing(sqlite3.connect(self.server.database)) as database:
            return list(database.iterdump())


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    place = tmp_path_factory.mktemp("server")
    server = Server(place)
    with pytest.MonkeyPatch.context() as patched, Way(server).open() as way:
        # A setting of the user's, which we keep: nobody comes to the aid of a killed server.
        patched.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        server.start()
        try:
            yield Rig(place / "home", server, way, data.FakeStore())
        finally:
            server.kill()


@pytest.fixture(scope="module")
def wanted(rig: Rig) -> tuple[dict[str, Any], int]:
    """What a calm sync logs, and in how many requests."""
    rig.way.calm()
    rig.sweep("calm")
    assert rig.sync().created == RUNS
    requests = len(rig.way.requests)
    return rig.logged(), requests


def moments(count: int, seed: str) -> list[int]:
    """Numbers of requests: the one in the middle, or a seeded few, the first and last of them."""
    if not ALL:
        return [count // 2]
    return sorted({1, count, *random.Random(seed).sample(range(2, count), min(MOMENTS, count) - 2)})


def once(number: int, act: Callable[[], int | None]) -> Callable[[int], int | None]:
    """Do it at that request only."""
    return lambda n: act() if n == number else None


def lost() -> int | None:
    raise ConnectionAbortedError


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_in_the_middle_of_a_sync(
    when: str, rig: Rig, wanted: tuple[dict[str, Any], int]
) -> None:
    """Before it hears a request, or when it has carried it out and not answered."""
    logged, requests = wanted

    def die() -> int | None:
        rig.server.kill()
        return lost()

    for number in moments(requests, when):
        rig.way.calm()
        rig.sweep(f"killed {when} {number}")
        setattr(rig.way, when, once(number, die))
        summary = rig.sync()
        assert not summary.complete, number
        rig.server.start()
        rig.recovers(logged)
        tally.survived("an MLflow server killed in the middle of a sync")


@pytest.mark.faults
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
def test_answering_500(lasting: bool, rig: Rig, wanted: tuple[dict[str, Any], int]) -> None:
    logged, requests = wanted
    for number in moments(requests, f"500 {lasting}"):
        rig.way.calm()
        rig.sweep(f"500 {lasting} {number}")
        fails = (lambda n, at=number: 500 if n >= at else None) if lasting else None
        rig.way.before = fails or once(number, lambda: 500)
        summary = rig.sync()
        assert summary.complete is not lasting or number == 1, (number, summary.problem)
        rig.recovers(logged)
        tally.survived("an MLflow server that answers 500")


@pytest.mark.faults
def test_answers_that_are_lost(rig: Rig, wanted: tuple[dict[str, Any], int]) -> None:
    """The client asks again for what was done already: two runs of one cell, say."""
    logged, requests = wanted
    for number in moments(requests, "lost"):
        rig.way.calm()
        rig.sweep(f"lost {number}")
        rig.way.after = once(number, lost)
        rig.sync()
        rig.recovers(logged)
        tally.survived("an answer of the MLflow server that is lost")


@pytest.mark.faults
def test_a_database_that_is_locked_in_the_middle(
    rig: Rig, wanted: tuple[dict[str, Any], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server carries out what the client has given up: both must be reckoned with."""
    logged, requests = wanted
    for number in moments(requests, "locked")[1:4]:
        rig.way.calm()
        rig.sweep(f"locked {number}")
        with closing(unbound(rig.server.database)) as other:
            rig.way.before = once(number, lambda it=other: lock(it))
            with monkeypatch.context() as impatient:
                impatient.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
                summary = rig.sync()
            if other.in_transaction:
                other.execute("ROLLBACK")
        assert summary.problem, number
        rig.recovers(logged)
        tally.survived("the database of the MLflow server locked")


def unbound(path: Path) -> sqlite3.Connection:
    """A connection that is used by one thread, and left by another."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60)


def lock(database: sqlite3.Connection) -> None:
    database.execute("BEGIN EXCLUSIVE")


@pytest.mark.faults
def test_a_slow_server_gets_what_fits_the_time_and_the_rest_later(
    rig: Rig, wanted: tuple[dict[str, Any], int]
) -> None:
    logged, _ = wanted
    rig.way.calm()
    rig.sweep("slow")
    rig.way.before = lambda _: time.sleep(0.1)
    cut = rig.sync(limit_s=2.0)
    assert "time" in cut.problem
    assert 0 < cut.created < RUNS
    rig.recovers(logged)
    tally.survived("a slow MLflow server")


@pytest.mark.faults
def test_several_collectors_at_once(rig: Rig, wanted: tuple[dict[str, Any], int]) -> None:
    """Each may make every run; the last to look removes what is too much."""
    rig.way.calm()
    rig.sweep("several")
    found: list[syncs.Summary] = []
    threads = [threading.Thread(target=lambda: found.append(rig.sync())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [summary.problem for summary in found] == [""] * 3
    rig.recovers(wanted[0])
    tally.survived("collectors at once on one MLflow server", 3)


@pytest.mark.faults
def test_the_command_mlflow_server_down_then_killed_then_up(
    tmp_path: Path, wanted: tuple[dict[str, Any], int], rig: Rig
) -> None:
    logged, requests = wanted
    server = Server(tmp_path, command=True)
    with Way(server).open() as way:
        other = Rig(tmp_path / "home", server, way, rig.store)
        other.sweep("by command")
        assert not other.sync().complete, "it is not up yet"
        server.start()
        way.calm()
        way.before = lambda n: server.kill() if n == requests // 2 else None
        try:
            assert not other.sync().complete
            server.start()
            other.recovers(logged)
        finally:
            server.kill()
    tally.survived("`mlflow server` down at the start, then killed in the middle of a sync", 2)
