"""A plan played through without doing anything: how long it takes, how full the disk gets.

Stages start in the order in which the local launcher starts them. The longest chain first,
unless it can wait without making the whole longer: then the deepest stage, so that one tree
of checkpoints is finished before the next is begun. Numbers instead of keys: a sweep may have
a hundred thousand stages.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from sweeper.planning.plan import Stage
from sweeper.planning.retention import is_kept


def play(
    todo: Sequence[Stage], seconds: Mapping[str, float], workers: int, keep: str
) -> tuple[float, float]:
    """(wall seconds, peak bytes of bulk) of carrying out stages.

    Args:
        todo: the stages that have to run, parents before children.
        seconds: stage key -> how long it takes.
        workers: stages at a time.
        keep: the checkpoint policy: keep, pruned or drop.
    """
    graph = _Graph(todo, seconds)
    ready, disk = _Ready(graph, workers), _Disk(graph, todo, keep)
    waiting = [len(parents) for parents in graph.parents]
    for n, parents in enumerate(graph.parents):
        if not parents:
            ready.add(n)
    running: list[tuple[float, int, int]] = []
    now = 0.0
    while ready.count or running:
        while ready.count and len(running) < workers:
            n = ready.take()
            disk.write(n)
            heapq.heappush(running, (now + graph.seconds[n], graph.rank[n], n))
        now, _, n = heapq.heappop(running)
        for child in graph.children[n]:
            waiting[child] -= 1
            if not waiting[child]:
                ready.add(child)
        for parent in graph.parents[n]:
            disk.read(parent)
    return now, disk.peak


class _Graph:
    """The stages by number, in their order.

    Attributes:
        parents, children: of each, among the stages themselves.
        seconds: that each takes.
        rank: its place among the sorted keys, to break ties.
    """

    def __init__(self, todo: Sequence[Stage], seconds: Mapping[str, float]) -> None:
        number = {stage.key: n for n, stage in enumerate(todo)}
        self.seconds = [seconds[key] for key in number]
        self.rank = _places([number[key] for key in sorted(number)])
        self.children: list[list[int]] = [[] for _ in todo]
        self.parents: list[list[int]] = []
        for n, stage in enumerate(todo):
            found = {number[p.key] for p in stage.parents.values() if p.key in number}
            self.parents.append(list(found))
            for parent in found:
                self.children[parent].append(n)

    def chains(self) -> list[float]:
        """Seconds of the longest chain of work that begins with each stage."""
        chain = list(self.seconds)
        for n in range(len(chain) - 1, -1, -1):
            for parent in self.parents[n]:
                chain[parent] = max(chain[parent], self.seconds[parent] + chain[n])
        return chain

    def depths(self) -> list[int]:
        """How many stages lie above each."""
        depth: list[int] = []
        for parents in self.parents:
            depth.append(1 + max([depth[parent] for parent in parents], default=-1))
        return depth


class _Ready:
    """Stages that could start, in two orders.

    Attributes:
        count: how many there are.
    """

    def __init__(self, graph: _Graph, workers: int) -> None:
        self._seconds, self._workers = graph.seconds, workers
        self._chain, depths = graph.chains(), graph.depths()
        # Places in two orders: heaps of whole numbers are several times faster than of tuples.
        by_rank = sorted(range(len(depths)), key=graph.rank.__getitem__)
        self._by_chain = sorted(by_rank, key=self._chain.__getitem__, reverse=True)
        self._by_depth = sorted(self._by_chain, key=depths.__getitem__, reverse=True)
        self._chain_place, self._depth_place = _places(self._by_chain), _places(self._by_depth)
        self._unstarted = sum(graph.seconds)
        self._longest: list[int] = []
        self._deepest: list[int] = []
        self._open = [False] * len(depths)
        self.count = 0

    def add(self, n: int) -> None:
        """A stage could start now."""
        self._open[n] = True
        self.count += 1
        heapq.heappush(self._longest, self._chain_place[n])
        heapq.heappush(self._deepest, self._depth_place[n])

    def take(self) -> int:
        """The stage to start next."""
        while not self._open[longest := self._by_chain[self._longest[0]]]:
            heapq.heappop(self._longest)
        while not self._open[deepest := self._by_depth[self._deepest[0]]]:
            heapq.heappop(self._deepest)
        can_wait = self._seconds[deepest] + self._chain[longest] <= self._unstarted / self._workers
        chosen = deepest if can_wait else longest
        self._open[chosen] = False
        self.count -= 1
        self._unstarted -= self._seconds[chosen]
        return chosen


def _places(order: Sequence[int]) -> list[int]:
    """Where each number stands in an order."""
    places = [0] * len(order)
    for place, n in enumerate(order):
        places[n] = place
    return places


class _Disk:
    """Bytes of checkpoints on disk.

    Attributes:
        peak: the most so far.
    """

    def __init__(self, graph: _Graph, todo: Sequence[Stage], keep: str) -> None:
        self._size = [stage.bulk_bytes for stage in todo]
        self._kept = [is_kept(stage.kind, keep) for stage in todo]
        self._readers = [len(children) for children in graph.children]
        self._bytes = self.peak = 0.0

    def write(self, n: int) -> None:
        """A stage writes its checkpoint."""
        self._bytes += self._size[n]
        self.peak = max(self.peak, self._bytes)

    def read(self, n: int) -> None:
        """A reader of a checkpoint is done; its last one lets it go."""
        self._readers[n] -= 1
        if not self._readers[n] and not self._kept[n]:
            self._bytes -= self._size[n]
