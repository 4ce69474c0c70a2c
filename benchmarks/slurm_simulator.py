"""A busy cluster in a few hundred lines: slots, time limits, age as priority, EASY backfill.

A job's age counts from the moment that it may start, so one that waits for another begins to
wait in the queue only when that has ended. Other users' jobs arrive at random, as many as keep
the slots busy to a given share; their lengths are log-normal, and they ask for more time than
they take. The sweep is packed, merged and ordered by the launcher's own functions.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from launchers.schedule import Schedule, closure, estimate
from launchers.slurm.resources.resources import Resources
from launchers.slurm.submission import pulling
from launchers.slurm.submission.merging import merge
from launchers.slurm.submission.packing import FULL, pack

Spec = Mapping[str, Any]


@dataclass(eq=False)
class Job:
    """One job; ``begin`` is told when it starts and says how long it runs (None: ends itself)."""

    width: int
    limit_s: float
    begin: Callable[[float], float | None]
    end: Callable[[float], None] = lambda now: None
    eligible: float = 0.0
    started: float = math.inf
    number: int = field(default_factory=count().__next__)


class Cluster:
    """Slots and their queue; time is in seconds."""

    def __init__(self, slots: int) -> None:
        self.slots, self.now = slots, 0.0
        self.waiting: list[Job] = []
        self.running: set[Job] = set()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Let something happen at a moment."""
        heapq.heappush(self._events, (when, next(self._order), act))

    def submit(self, job: Job) -> None:
        """Put a job into the queue; its age counts from now."""
        job.eligible = self.now
        self.waiting.append(job)

    def finish(self, job: Job) -> None:
        """A job leaves its slots."""
        self.running.discard(job)
        job.end(self.now)

    def run(self, over: Callable[[], bool]) -> float:
        """Until something holds; when that was."""
        while not over():
            self.now, _, act = heapq.heappop(self._events)
            act()
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            self._schedule()
        return self.now

    @property
    def free(self) -> int:
        """Slots that are free."""
        return self.slots - sum(job.width for job in self.running)

    def _schedule(self) -> None:
        """Start by age; what is younger may start if it does not delay the oldest."""
        self.waiting.sort(key=lambda job: (job.eligible, job.number))
        while self.waiting and self.waiting[0].width <= self.free:
            self._start(self.waiting.pop(0))
        if not self.waiting:
            return
        shadow, spare = self._reservation(self.waiting[0].width)
        for job in self.waiting[1:]:
            fits = job.width <= self.free
            if fits and (self.now + job.limit_s <= shadow or job.width <= spare):
                spare -= job.width if self.now + job.limit_s > shadow else 0
                self.waiting.remove(job)
                self._start(job)

    def _reservation(self, width: int) -> tuple[float, int]:
        """When the oldest job can start at the latest, and how many slots are left over then."""
        free = self.free
        for job in sorted(self.running, key=lambda job: job.started + job.limit_s):
            free += job.width
            if free >= width:
                return job.started + job.limit_s, free - width
        return math.inf, 0

    def _start(self, job: Job) -> None:
        job.started = self.now
        self.running.add(job)
        seconds = job.begin(self.now)
        if seconds is not None:
            self.at(self.now + min(seconds, job.limit_s), lambda: self.finish(job))


def others(cluster: Cluster, rng: random.Random, load: float, mean_s: float) -> None:
    """Jobs of other users, for ever, one to four slots wide."""
    every = mean_s * 2.5 / (cluster.slots * load)

    def arrive() -> None:
        seconds = rng.lognormvariate(math.log(mean_s) - 0.5, 1.0)
        asked = seconds * rng.uniform(1.2, 4.0)
        cluster.submit(Job(width=rng.randint(1, 4), limit_s=asked, begin=lambda now: seconds))
        cluster.at(cluster.now + rng.expovariate(1 / every), arrive)

    cluster.at(0.0, arrive)


def by_dependencies(
    cluster: Cluster, stages: Sequence[Spec], asked: Resources, slots: int, startup_s: float
) -> Callable[[], bool]:
    """The sweep as jobs that wait for each other; whether it is over."""
    specs = closure(stages)
    units = pack(specs, dict.fromkeys(specs, False), set(), lambda spec: asked, by="cell")
    units = merge(units, slots=slots, startup_s=startup_s)
    owner = {key: n for n, unit in enumerate(units) for key in unit.keys}
    waits = [{owner[key] for key in unit.parents} for unit in units]
    left = set(range(len(units)))

    def submit(n: int) -> None:
        def end(now: float) -> None:
            left.discard(n)
            for other in range(len(units)):
                if n in waits[other]:
                    waits[other].discard(n)
                    if not waits[other]:
                        submit(other)

        seconds = startup_s + units[n].seconds
        cluster.submit(Job(width=1, limit_s=asked.seconds, begin=lambda now: seconds, end=end))

    for n in [n for n, parents in enumerate(waits) if not parents]:
        submit(n)
    return lambda: not left


def by_pulling(
    cluster: Cluster, stages: Sequence[Spec], asked: Resources, slots: int, startup_s: float
) -> Callable[[], bool]:
    """The sweep as equal jobs that take stages for themselves; whether it is over."""
    specs = closure(stages)
    (array,) = pulling.arrays(
        specs, dict.fromkeys(specs, False), lambda spec: asked, slots=slots, startup_s=startup_s
    )
    schedule = Schedule(specs, dict.fromkeys(specs, False))
    idle: list[tuple[Job, str]] = []
    queued = list(range(len(array.units)))
    alive: set[Job] = set()

    def submit() -> None:
        job = Job(width=1, limit_s=asked.seconds, begin=lambda now: None)

        def begin(now: float) -> None:
            cluster.at(now + startup_s, lambda: work(job, ""))

        job.begin = begin
        alive.add(job)
        cluster.submit(job)

    def leave(job: Job) -> None:
        alive.discard(job)
        cluster.finish(job)
        if queued and schedule.open:
            queued.pop()
            submit()
        elif not alive and schedule.open:  # the round submits as many again
            queued.extend(range(len(array.units)))
            for _ in range(min(array.width or slots, len(queued))):
                queued.pop()
                submit()

    def work(job: Job, held: str) -> None:
        if cluster.now - job.started > FULL * job.limit_s or not schedule.waiting:
            leave(job)
            return
        tasks = schedule.ranked(held, array.width or slots)
        if not tasks:
            idle.append((job, held))
            return
        task = tasks[0]
        schedule.start(task.key)

        def done() -> None:
            schedule.finish(task.key)
            woken, idle[:] = [(job, task.makes), *idle], []
            for one, holds in woken:
                work(one, holds)

        cluster.at(cluster.now + task.estimate_s, done)

    for _ in range(min(array.width or slots, len(queued))):
        queued.pop()
        submit()
    return lambda: not schedule.open


def floor(stages: Sequence[Spec], slots: int) -> float:
    """No schedule is shorter: all work by the slots, or the longest chain."""
    specs = closure(stages)
    chain: dict[str, float] = {}
    for key, spec in specs.items():
        above = [chain[parent["key"]] for parent in spec.get("parents", {}).values()]
        chain[key] = estimate(spec) + max(above, default=0.0)
    return max(sum(map(estimate, specs.values())) / slots, max(chain.values()))


def makespan(
    how: Callable[..., Callable[[], bool]],
    stages: Sequence[Spec],
    asked: Resources,
    *,
    seed: int,
    slots: int,
    load: float,
    startup_s: float,
    mean_s: float = 1800.0,
) -> float:
    """Seconds from submission to the end of a sweep on a cluster that has been busy for days."""
    cluster = Cluster(slots)
    others(cluster, random.Random(seed), load, mean_s)
    began = cluster.run(lambda: cluster.now > 3 * 86400)
    over = how(cluster, stages, asked, slots, startup_s)
    return cluster.run(over) - began
