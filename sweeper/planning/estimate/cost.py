"""What a plan will cost: seconds per stage, wall time, and the disk at its peak.

Seconds (on a CPU no more than the CPU seconds: other work there is no part of the cost) are
measured where the store has the very stage, scaled by parameters and tokens from
stages of the same kind and of about its size (of this plan, else of any in the home) where it
has those, and otherwise assumed from the model's size; each estimate says which. The disk is
found by playing the plan through with the given number of workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Protocol

from sweeper.errors import DamagedOutput
from sweeper.planning.estimate.simulation import play
from sweeper.planning.plan import Plan
from sweeper.store.manifest import Facts, Manifest
from sweeper.store.spec import StageId

_ASSUMED_RATE = {
    # Work units (parameters x tokens, parameters x documents, parameters) per second: one
    # CPU core, and one data-centre GPU. Rough; the first measured stage replaces them.
    "cpu": {
        "convert": 4.6e6,
        "rescale": 1.5e7,
        "rotate": 1e7,
        "sensitivity": 1.2e10,
        "prune": 1.5e10,
        "quantize": 1.5e10,
        "measure": 7e7,
        "evaluate": 6.3e9,
    },
    "cuda": {
        "convert": 2e8,
        "rescale": 5e7,
        "rotate": 3e7,
        "sensitivity": 5e12,
        "prune": 5e12,
        "quantize": 5e12,
        "measure": 4e8,
        "evaluate": 1e11,
    },
}


_READ = 64
"""Manifests of other sweeps that are read for a rate; a median needs no more."""
_REACH = 8.0
"""How many times larger or smaller a stage may be than one that its time is scaled from: the
start-up that a tiny model's seconds consist of would otherwise be multiplied by thousands."""
_Took = tuple[float, float]
"""Work of a stage that is done, and the seconds it took."""


class Measured(Protocol):
    """The part of the store that tells what stages took."""

    def manifest(self, spec: StageId) -> Manifest | None:
        """The manifest of a committed stage, else None."""
        ...

    def result(self, spec: StageId) -> object | None:
        """The result of a committed stage, else None; `DamagedOutput` if it has changed."""
        ...

    def scan(self, kind: str) -> frozenset[str]:
        """The keys of a kind that are done."""
        ...

    def has_bulk(self, spec: StageId) -> bool:
        """Whether a committed stage still has all checkpoints that it wrote."""
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
        pending: keys of the stages that have to run.
        again: those of them that are done, but whose dropped checkpoint others have to read.
        outdated: those of them that the home has in an older format.
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
    again: frozenset[str]
    outdated: frozenset[str]
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
    undone = frozenset(
        key for key, s in plan.stages.items() if key not in done or _damaged(s.kind, key, store)
    )
    again = frozenset(_again(plan, store, undone))
    pending = undone | again if again else undone
    estimates = _estimates(plan, store, undone, device)
    todo = [stage for stage in plan.stages.values() if stage.key in pending]
    seconds = {stage.key: estimates[stage.key].seconds for stage in todo}
    wall, peak = play(todo, seconds, workers, keep)
    return Cost(
        workers=workers,
        device=device,
        estimates=estimates,
        pending=pending,
        again=again,
        outdated=frozenset(key for key in undone if not done.isdisjoint(plan.stages[key].former)),
        seconds=sum(seconds.values()),
        wall_seconds=wall,
        peak_bytes=round(peak),
    )


def _damaged(kind: str, key: str, store: Measured) -> bool:
    """Whether an output is no longer what was written: `run` builds it again."""
    try:
        store.result({"kind": kind, "key": key})
    except DamagedOutput:
        return True
    return False


def _seconds(facts: Facts) -> float:
    """What a stage takes where nothing else is at work: on a CPU no more than its CPU seconds."""
    wall, busy = facts.get("seconds", 0.0), facts.get("cpu_seconds", 0.0)
    return min(wall, busy) if busy > 0 and facts.get("device") == "cpu" else wall


def _again(plan: Plan, store: Measured, undone: Set[str]) -> set[str]:
    """Ancestors of stages that are not done, which are, but without the checkpoint to read."""
    if len(undone) == len(plan.stages):
        return set()
    found, seen = set[str](), set[str]()
    reading = [stage for key, stage in plan.stages.items() if key in undone]
    while reading:
        for parent in reading.pop().parents.values():
            if parent.key in undone or parent.key in seen:
                continue
            seen.add(parent.key)
            if not store.has_bulk({"kind": parent.kind, "key": parent.key}):
                found.add(parent.key)
                reading.append(parent)
    return found


def _estimates(plan: Plan, store: Measured, undone: Set[str], device: str) -> dict[str, Estimate]:
    measured: dict[str, float] = {}
    took: dict[str, list[_Took]] = {}
    for key, stage in plan.stages.items():
        if key not in undone:
            found = store.manifest({"kind": stage.kind, "key": key})
            facts: Facts = found if found else {}
            measured[key] = _seconds(facts)
            if measured[key] > 0 and facts.get("device") == device:
                took.setdefault(stage.kind, []).append((stage.work, measured[key]))
    for kind in {stage.kind for stage in plan.stages.values()} - took.keys():
        took[kind] = _elsewhere(store, kind, device)

    @cache  # a grid of 10,000 cells has a handful of sizes
    def expected(kind: str, work: float) -> Estimate:
        rate = _rate(took[kind], work)
        if rate is None:
            return Estimate(work / _ASSUMED_RATE[device][kind], "assumed")
        return Estimate(work / rate, "scaled")

    return {
        key: Estimate(measured[key], "measured")
        if key in measured
        else expected(stage.kind, stage.work)
        for key, stage in plan.stages.items()
    }


def _manifest(kind: str, key: str, store: Measured) -> Manifest | None:
    try:
        return store.manifest({"kind": kind, "key": key})
    except DamagedOutput:  # it tells nothing, and is no reason to plan nothing
        return None


def _rate(took: Sequence[_Took], work: float) -> float | None:
    """Work units per second for a stage of this much work, by those of about its size."""
    rates = [
        done / seconds
        for done, seconds in took
        if not work or work / _REACH <= done <= work * _REACH
    ]
    return median(rates) if rates else None


def _elsewhere(store: Measured, kind: str, device: str) -> list[_Took]:
    """Stages that other sweeps of this home have carried out."""
    manifests = (_manifest(kind, key, store) for key in sorted(store.scan(kind))[:_READ])
    done = [m for m in manifests if m and m.get("device") == device]
    pairs = [(float(str(m.get("work") or 0)), _seconds(m)) for m in done]
    return [(work, seconds) for work, seconds in pairs if work > 0 and seconds > 0]
