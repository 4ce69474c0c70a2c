"""What a plan will cost: seconds per stage, wall time, and the disk at its peak.

Seconds are measured where the store has the very stage, scaled from stages of the same
kind where it has those, and otherwise assumed from the model's size; each estimate says
which. The disk is found by playing the plan through with the given number of workers.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from sweeper.checkpoints import is_kept
from sweeper.plan import Plan, Stage

_ASSUMED_RATE = {
    # Work units (parameters x tokens, parameters x documents, parameters) per second: one
    # CPU core, and one data-centre GPU. Rough; the first measured stage replaces them.
    "cpu": {"convert": 5e6, "prune": 1.5e10, "quantize": 1.5e10, "measure": 6e7, "evaluate": 4e9},
    "cuda": {"convert": 2e8, "prune": 5e12, "quantize": 5e12, "measure": 4e8, "evaluate": 1e11},
}


class Measured(Protocol):
    """The part of the store that tells what stages took."""

    def manifest(self, spec: Mapping[str, object]) -> Mapping[str, object] | None:
        """The manifest of a committed stage, else None."""
        ...

    def scan(self, kind: str) -> frozenset[str]:
        """The keys of a kind that are done."""
        ...


@dataclass(frozen=True)
class Estimate:
    """Seconds of one stage and where the number comes from: measured, scaled or assumed."""

    seconds: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What is still to be done.

    Attributes:
        estimates: stage key -> its estimate.
        pending: keys of the stages that are not done.
        seconds: of all pending stages together.
        wall_seconds: with the given workers, longest chain first.
        peak_bytes: the most that checkpoints and masks take at one time.
        workers: stages at a time.
        device: "cpu" or "cuda".
    """

    workers: int
    device: str
    estimates: Mapping[str, Estimate]
    pending: frozenset[str]
    seconds: float
    wall_seconds: float
    peak_bytes: int

    def sources(self) -> str:
        """Which kinds of estimate went into the total."""
        used = {self.estimates[key].source for key in self.pending}
        return ", ".join(sorted(used)) or "nothing to do"


def cost(plan: Plan, store: Measured, *, device: str, workers: int, keep: str) -> Cost:
    """What carrying out the plan costs from here on.

    Args:
        plan: the plan.
        store: knows which stages are done and what they took.
        device: "cpu" or "cuda", for what has to be assumed.
        workers: stages at a time.
        keep: the checkpoint policy: keep, pruned or drop.
    """
    done = {key for kind in _ASSUMED_RATE[device] for key in store.scan(kind)}
    pending = frozenset(key for key in plan.stages if key not in done)
    estimates = _estimates(plan, store, pending, device)
    wall, peak = _play(plan, pending, estimates, workers, keep)
    return Cost(
        workers=workers,
        device=device,
        estimates=estimates,
        pending=pending,
        seconds=sum(estimates[key].seconds for key in pending),
        wall_seconds=wall,
        peak_bytes=round(peak),
    )


def _estimates(
    plan: Plan, store: Measured, pending: frozenset[str], device: str
) -> dict[str, Estimate]:
    measured: dict[str, float] = {}
    rates: dict[str, list[float]] = {}
    for key, stage in plan.stages.items():
        if key not in pending:
            manifest = store.manifest({"kind": stage.kind, "key": key}) or {}
            measured[key] = float(str(manifest.get("seconds", 0.0)))
            if measured[key] > 0 and manifest.get("device") == device:
                rates.setdefault(stage.kind, []).append(stage.work / measured[key])
    scaled = {kind: median(values) for kind, values in rates.items()}
    found: dict[str, Estimate] = {}
    for key, stage in plan.stages.items():
        if key in measured:
            found[key] = Estimate(measured[key], "measured")
        elif stage.kind in scaled:
            found[key] = Estimate(stage.work / scaled[stage.kind], "scaled")
        else:
            found[key] = Estimate(stage.work / _ASSUMED_RATE[device][stage.kind], "assumed")
    return found


def longest_chains(stages: Iterable[Stage], seconds: Mapping[str, float]) -> dict[str, float]:
    """Stage key -> seconds of the longest chain of work that begins with it."""
    ordered = list(stages)
    chain = {stage.key: seconds[stage.key] for stage in ordered}
    for stage in reversed(ordered):
        for parent in stage.parents.values():
            if parent.key in chain:
                through = seconds[parent.key] + chain[stage.key]
                chain[parent.key] = max(chain[parent.key], through)
    return chain


def _play(
    plan: Plan,
    pending: frozenset[str],
    estimates: Mapping[str, Estimate],
    workers: int,
    keep: str,
) -> tuple[float, float]:
    """(wall seconds, peak bytes of bulk) of carrying out the pending stages."""
    todo = [stage for stage in plan.stages.values() if stage.key in pending]
    seconds = {stage.key: estimates[stage.key].seconds for stage in todo}
    readers = _readers(todo)
    waiting = Counter(reader for key in readers if key in pending for reader in readers[key])
    disk = _Disk(keep)
    ready = _Ready(todo, seconds, workers)
    for stage in todo:
        if not waiting[stage.key]:
            ready.add(stage.key)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            key = ready.take()
            disk.write(plan.stages[key])
            heapq.heappush(running, (now + seconds[key], key))
        now, key = heapq.heappop(running)
        for child in readers.get(key, ()):
            waiting[child] -= 1
            if not waiting[child]:
                ready.add(child)
        disk.finished(plan.stages[key], readers)
    return now, disk.peak


class _Ready:
    """Stages that could start, in the order in which the local launcher takes them.

    The longest chain first, unless it can wait without making the whole longer: then the
    deepest stage, so that one tree of checkpoints is finished before the next is begun.
    """

    def __init__(self, todo: Sequence[Stage], seconds: Mapping[str, float], workers: int) -> None:
        self._seconds, self._workers = seconds, workers
        self._chain = longest_chains(todo, seconds)
        self._depth: dict[str, int] = {}
        for stage in todo:
            above = [self._depth.get(p.key, -1) for p in stage.parents.values()]
            self._depth[stage.key] = 1 + max(above, default=-1)
        self._unstarted = sum(seconds.values())
        self._longest: list[tuple[float, str]] = []
        self._deepest: list[tuple[int, float, str]] = []
        self._open: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, key: str) -> None:
        self._open.add(key)
        heapq.heappush(self._longest, (-self._chain[key], key))
        heapq.heappush(self._deepest, (-self._depth[key], -self._chain[key], key))

    def take(self) -> str:
        while self._longest[0][1] not in self._open:
            heapq.heappop(self._longest)
        while self._deepest[0][2] not in self._open:
            heapq.heappop(self._deepest)
        longest, deepest = self._longest[0][1], self._deepest[0][2]
        can_wait = self._seconds[deepest] + self._chain[longest] <= self._unstarted / self._workers
        chosen = deepest if can_wait else longest
        self._open.remove(chosen)
        self._unstarted -= self._seconds[chosen]
        return chosen


def _readers(stages: Sequence[Stage]) -> dict[str, list[str]]:
    """Stage key -> keys of the stages that read its output."""
    found: dict[str, list[str]] = {}
    for stage in stages:
        for parent in dict.fromkeys(p.key for p in stage.parents.values()):
            found.setdefault(parent, []).append(stage.key)
    return found


class _Disk:
    """Bytes of checkpoints on disk while a plan is played through."""

    def __init__(self, keep: str) -> None:
        self._keep = keep
        self._alive: dict[str, float] = {}
        self._read: dict[str, int] = {}
        self._bytes = 0.0
        self.peak = 0.0

    def write(self, stage: Stage) -> None:
        self._alive[stage.key] = stage.bulk_bytes
        self._bytes += stage.bulk_bytes
        self.peak = max(self.peak, self._bytes)

    def finished(self, stage: Stage, readers: Mapping[str, list[str]]) -> None:
        for parent in {p.key: p for p in stage.parents.values()}.values():
            self._read[parent.key] = self._read.get(parent.key, 0) + 1
            last = self._read[parent.key] == len(readers.get(parent.key, ()))
            if last and not is_kept(parent.kind, self._keep):
                self._bytes -= self._alive.pop(parent.key, 0.0)
