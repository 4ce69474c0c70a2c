"""Which cells share a job: as many as end the sweep sooner, since every job pays for a start.

A pure function. With two jobs at a time, forty cells of some seconds each are nearly all
starts of Python; with 256 at a time, or cells that take hours, a job each is best. So a few
sizes of job are played through, and the one that ends first is taken.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from math import ceil

from launchers.slurm.resources.resources import joined, may_share
from launchers.slurm.submission.packing import FULL, Unit

_SHARES = (1.25, 1.0, 0.5, 0.25, 0.125)
_STARTS = (1.0, 0.5, 0.25)
"""Sizes of job that are tried: in shares of the work of one slot, and in starts."""
_GAIN = 0.97
"""Cells share jobs only for an end this much sooner: what shares a job is repaired together."""


def merge(units: Sequence[Unit], *, slots: int, startup_s: float) -> list[Unit]:
    """The same work in as many jobs as end it soonest.

    Args:
        units: one per cell or shared checkpoint, parents before children.
        slots: jobs at a time.
        startup_s: seconds that every job takes beside its stages.

    Returns:
        Jobs, parents before children: ``units`` themselves, or fewer that hold several.
    """
    slot = sum(unit.seconds for unit in units) / slots
    sizes = [*(slot * part for part in _SHARES), *(startup_s * part for part in _STARTS)]
    best, soonest = list(units), wall_seconds(units, slots, startup_s)
    for size in sorted(sizes) if startup_s else ():
        tried = _Merger(units, size, slots).result()
        end = wall_seconds(tried, slots, startup_s)
        if end < _GAIN * soonest:
            best, soonest = tried, end
    return best


def wall_seconds(units: Sequence[Unit], slots: int, startup_s: float) -> float:
    """When the last job ends, if those that may start do so in the order of ``units``."""
    owner = {key: n for n, unit in enumerate(units) for key in unit.keys}
    waits = [{owner[p] for p in unit.parents if p in owner} for unit in units]
    children: dict[int, list[int]] = defaultdict(list)
    for n, parents in enumerate(waits):
        for parent in parents:
            children[parent].append(n)
    ready = [n for n, parents in enumerate(waits) if not parents]
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < slots:
            n = heapq.heappop(ready)
            heapq.heappush(running, (now + startup_s + units[n].seconds, n))
        now, ended = heapq.heappop(running)
        for child in children[ended]:
            waits[child].discard(ended)
            if not waits[child]:
                heapq.heappush(ready, child)
    return now


class _Merger:
    """Subtrees of at most ``size`` seconds become one job, and small siblings share one."""

    def __init__(self, units: Sequence[Unit], size: float, slots: int) -> None:
        self._units, self._size, self._slots = units, size, slots
        owner = {key: n for n, unit in enumerate(units) for key in unit.keys}
        self._children: dict[int, list[int]] = defaultdict(list)
        self._groups: dict[frozenset[object], list[int]] = defaultdict(list)
        for n, unit in enumerate(units):
            waits = frozenset(owner.get(parent, parent) for parent in unit.parents)
            if len(waits) == 1 and isinstance(only := next(iter(waits)), int):
                self._children[only].append(n)
            else:
                self._groups[waits].append(n)
        self._jobs: list[list[int]] = []

    def result(self) -> list[Unit]:
        for group in self._groups.values():
            self._share(group)
        made = [_joined([self._units[n] for n in job]) for job in self._jobs]
        return _ordered(made)

    def _share(self, siblings: Sequence[int]) -> None:
        """Give jobs to units that wait for the same; each with its whole subtree if that fits."""
        whole = [tree for n in siblings if (tree := self._subtree(n))]
        self._jobs += self._bins(whole, least=min(self._slots, len(whole)))

    def _subtree(self, root: int) -> list[int]:
        """The units of a subtree that fits one job; else [], and all of it has jobs of its own."""
        parts = [self._subtree(child) for child in self._children[root]]
        tree = [root, *(n for part in parts for n in part)]
        if all(parts) and self._fits(tree):
            return tree
        self._jobs += [[root], *self._bins([part for part in parts if part])]
        return []

    def _bins(self, trees: Sequence[list[int]], least: int = 1) -> Iterator[list[int]]:
        """Trees in as few jobs as hold them (but ``least``), the longest into the emptiest."""
        full = ceil(sum(map(self._seconds, trees)) / self._size) if self._size else 0
        bins: list[list[int]] = [[] for _ in range(max(full, least))]
        for tree in sorted(trees, key=self._seconds, reverse=True):
            into = min(bins, key=self._seconds, default=None)
            if into is None or not self._allowed(into + tree):
                bins.append(into := [])
            into += tree
        return (sorted(held) for held in bins if held)

    def _seconds(self, units: Sequence[int]) -> float:
        return sum(self._units[n].seconds for n in units)

    def _fits(self, units: Sequence[int]) -> bool:
        return self._seconds(units) <= self._size and self._allowed(units)

    def _allowed(self, units: Sequence[int]) -> bool:
        """Whether they may share a place, and its time limit leaves room for all of them."""
        asked = [self._units[n].resources for n in units]
        if not may_share(asked):
            return False
        limit = max(one.seconds for one in asked)
        return len(units) == 1 or self._seconds(units) <= FULL * limit


def _joined(units: Sequence[Unit]) -> Unit:
    """One job that does what several do; ``units`` are in order, parents before children."""
    keys = tuple(key for unit in units for key in unit.keys)
    return replace(
        units[0],
        keys=keys,
        bulk=frozenset().union(*(unit.bulk for unit in units)),
        resources=joined([unit.resources for unit in units]),
        parents=frozenset().union(*(unit.parents for unit in units)) - set(keys),
        seconds=sum(unit.seconds for unit in units),
    )


def _ordered(units: Sequence[Unit]) -> list[Unit]:
    """Parents before children; of those at one depth, the longest chains first."""
    owner = {key: n for n, unit in enumerate(units) for key in unit.keys}
    above = {n: {owner[p] for p in unit.parents if p in owner} for n, unit in enumerate(units)}
    order = list(TopologicalSorter(above).static_order())
    depth: dict[int, int] = {}
    for n in order:
        depth[n] = 1 + max((depth[parent] for parent in above[n]), default=0)
    chain = {n: units[n].seconds for n in order}
    for n in reversed(order):
        for parent in above[n]:
            chain[parent] = max(chain[parent], units[parent].seconds + chain[n])
    return [units[n] for n in sorted(order, key=lambda n: (depth[n], -chain[n], n))]
