"""A worker that pulls: it takes the next ready stage of a sweep, again and again, on any machine.

Nobody hands out work. The store tells what is done; a lease on a stage (see `launchers.leases`)
tells that somebody is at it, and expires with its holder. Leases only spare work: a stage
that is done twice is committed once.
"""

from __future__ import annotations

import json
import logging
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from launchers import leases
from launchers.leases import Holder, Lease
from launchers.schedule import Schedule, Task, closure, missing
from sweeper.errors import DamagedOutput
from sweeper.store import process_id
from sweeper.store.store import Spec, Store
from sweeper.worker.runner import name

Json = dict[str, Any]

_LOOK_S = 0.1
_LATER_S = 0.05
"""Seconds between looks while others are at work, and how much longer for each idle second."""
_SLOWEST_LOOK_S = 5.0
_IDLE_S = 60.0
"""A worker leaves after that time in which nobody was at work and there was nothing to take."""

_SPREAD_S = 60.0
"""How long a repeated evaluation is left to workers of other nodes, where there are some."""
RERUN = "rerun"

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Worker:
    """Carries out stages until nothing is left for it, or its time is over.

    Attributes:
        specs: the stages wanted, by key, with estimates.
        mine: keys of those that this worker may carry out.
        store: where outputs are and go.
        workers: how many there are, for the order of work.
        attempt: carries out a stage (second argument: for its bulk); None if it is done now,
            else how it ended.
        hopeless: why a stage is not to be tried any more; "" if it is.
        fatal: the same of a stage that nobody is at and whose last worker is gone; it may ask
            SLURM how that ended.
        job: SLURM's id of this process's job.
        over: whether the holder of a lease is surely gone.
        until: `time.monotonic` after which nothing new is begun.
        now: this moment, as people read it in a lease.
        done, ended: what it did, and what will not come about -> why.
    """

    specs: Mapping[str, Spec]
    mine: Set[str]
    store: Store
    workers: int
    attempt: Callable[[Spec, bool], Json | None]
    hopeless: Callable[[str], str]
    fatal: Callable[[str], str] = lambda key: ""
    job: str = ""
    over: Callable[[Holder], bool] | None = None
    until: float = float("inf")
    now: Callable[[], str] = str
    done: list[str] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    _leaves_to_others: bool = field(default=False, init=False)

    def run(self) -> None:
        """Take stages as long as there are some; see `done` and `ended` afterwards."""
        schedule = self._schedule()
        held, quiet = "", time.monotonic()
        while time.monotonic() < self.until:
            self._catch_up(schedule)
            if not schedule.open & self.mine:
                return
            taken, at_work = self._take(schedule, held, time.monotonic() - quiet)
            if taken is not None:
                held = self._carry_out(taken, schedule)
                quiet = time.monotonic()
                continue
            idle = time.monotonic() - quiet
            if not self._leaves_to_others and self._nothing_will_come(schedule, at_work, idle):
                return
            time.sleep(min(_SLOWEST_LOOK_S, _LOOK_S + _LATER_S * idle))

    def _schedule(self) -> Schedule:
        specs = closure(self.specs.values())
        needed = missing(
            self.specs.values(), lambda spec, bulk: self.store.present(spec, bulk=bulk)
        )
        return Schedule(specs, needed)

    def _catch_up(self, schedule: Schedule) -> None:
        """Learn what others have done and what has failed: a listing for each kind of stage."""
        known: dict[str, Any] = {}
        moved = True
        while moved:
            moved = False
            for task in schedule.ready:
                kind = task.spec["kind"]
                if kind not in known:
                    self.store.look_again(task.spec)
                    known[kind] = self.store.listing(kind)
                listing = known[kind]
                if task.key in listing.failed:
                    self._give_up(task, schedule, "the cell is at fault")
                    moved = True
                elif task.key in listing.done and self._is_there(task):
                    schedule.start(task.key)
                    schedule.finish(task.key)
                    moved = True

    def _is_there(self, task: Task) -> bool:
        return self.store.present(task.spec, bulk=task.bulk)

    def _take(
        self, schedule: Schedule, held: str, idle_s: float
    ) -> tuple[tuple[Task, Lease] | None, set[str]]:
        """A ready stage and its lease, if there is one to be had; and the stages others are at."""
        at_work: set[str] = set()
        hosts: set[str] = set()
        self._leaves_to_others = False
        for task, elsewhere in self._spread(schedule.ranked(held, self.workers)):
            if task.key in self.mine and (why := self.hopeless(task.key)):
                self._give_up(task, schedule, why)
                continue
            folder = leases.of_stage(self.store.home, task.key)
            if task.key not in self.mine:
                if (other := leases.holder(folder, self.over)) is not None:
                    at_work.add(task.key)
                    hosts.add(other.host)
                continue
            if elsewhere and hosts - {process_id.host()} and idle_s < _SPREAD_S:
                self._leaves_to_others = True
                continue
            got = leases.take(folder, job=self.job, since=self.now(), over=self.over)
            if not isinstance(got, Lease):
                at_work.add(task.key)
                hosts.add(got.host)
            elif why := self.fatal(task.key):
                got.release()
                self._give_up(task, schedule, why)
            else:
                return (task, got), at_work
        return None, at_work

    def _spread(self, ranked: Sequence[Task]) -> list[tuple[Task, bool]]:
        """The tasks, last those that repeat an evaluation of this very node; and whether they do.

        Equal evaluations on one node say nothing of how far nodes are apart.
        """
        if not self._twins:
            return [(task, False) for task in ranked]
        here = [(task, self._was_here(task)) for task in ranked]
        return sorted(here, key=lambda one: one[1])

    def _was_here(self, task: Task) -> bool:
        """Whether an evaluation is one more of what was evaluated on this node before."""
        twins = self._twins.get(_evaluation(task.spec), ())
        others = [twin for twin in twins if twin["key"] != task.key]
        return any(self._host(twin) == socket.gethostname() for twin in others)

    def _host(self, spec: Spec) -> str:
        """Where a stage was carried out; "" if it was not, or its output is damaged."""
        with suppress(DamagedOutput):
            found = self.store.manifest(spec)
            return found.get("host", "") if found else ""
        return ""

    @cached_property
    def _twins(self) -> Mapping[str, list[Spec]]:
        """What is evaluated several times -> all stages that do so."""
        found: dict[str, list[Spec]] = defaultdict(list)
        for spec in self.specs.values():
            found[_evaluation(spec)].append(spec)
        again = {key: specs for key, specs in found.items() if key and len(specs) > 1}
        return {k: s for k, s in again.items() if any(one["params"].get(RERUN) for one in s)}

    def _carry_out(self, taken: tuple[Task, Lease], schedule: Schedule) -> str:
        """Do a stage; returns the checkpoint that this process holds now ("" if none)."""
        task, lease = taken
        try:
            if self._is_there(task):  # it was done between the look and the lease
                ending = None
            else:
                ending = self.attempt(task.spec, task.bulk)
                if ending is None:
                    self.done.append(task.key)
        finally:
            lease.release()
        if ending is None:
            schedule.start(task.key)
            schedule.finish(task.key)
            return task.makes
        log.warning("%s %s: %s", *name(task.spec), ending["message"])
        if ending["event"] == "failed" or not ending["again"]:
            self._give_up(task, schedule, str(ending["message"]))
        return ""

    def _nothing_will_come(self, schedule: Schedule, at_work: set[str], idle_s: float) -> bool:
        """Whether what others are at sets nothing free for this worker.

        Somebody's death in the last stages is left to who comes next: waiting for it would
        hold a GPU for nothing.
        """
        if not at_work:
            return idle_s > _IDLE_S
        return not any(schedule.below(key) & self.mine for key in at_work)

    def _give_up(self, task: Task, schedule: Schedule, why: str) -> None:
        self.ended[task.key] = why
        for blocked in schedule.give_up(task.key):
            self.ended.setdefault(blocked["key"], "a stage that it needs did not come about")


def _evaluation(spec: Spec) -> str:
    """What a stage evaluates, whichever time; "" of other stages."""
    if spec["kind"] != "evaluate":
        return ""
    params = {name: value for name, value in spec["params"].items() if name != RERUN}
    parents = sorted((role, p["key"]) for role, p in spec.get("parents", {}).items())
    return json.dumps([params, parents], sort_keys=True)
