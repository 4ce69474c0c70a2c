"""From jobs to SLURM arrays and their dependencies: a pure function, before any submission.

SLURM gives a whole array one dependency. Jobs that wait for different parents share an
array all the same where ``aftercorr`` pairs them: element i waits for element i of the
parents' array alone. Elements are numbered from 0 without gaps (as submitit does), so
parents with the most children come first in their array.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from launchers.slurm.resources.resources import Resources
from launchers.slurm.submission.packing import Unit


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One condition of an array.

    Attributes:
        array: index of an earlier array of the same submission; None: ``job`` is meant.
        element: the one element of it that is waited for; None: element by element.
        job: SLURM's id of a job of an earlier submission.
        any: whether its end counts, however it ended.
    """

    array: int | None = None
    element: int | None = None
    job: str = ""
    any: bool = False


@dataclass(frozen=True, kw_only=True)
class Array:
    """Jobs that are submitted together.

    Attributes:
        units: its elements, at most as many as the site allows.
        edges: what has to be done before an element starts.
        pulls: stages that its elements take for themselves -> expected seconds.
        width: most elements at a time; None: as the launcher says.
        waits: what each element waits for, where that is told element by element; such an array
            is submitted held (see `ties`).
    """

    units: tuple[Unit, ...]
    edges: tuple[Edge, ...] = ()
    pulls: Mapping[str, float] = field(default_factory=dict)
    width: int | None = None
    waits: tuple[tuple[Edge, ...], ...] = ()

    @property
    def resources(self) -> Resources:
        """What each element asks for."""
        return self.units[0].resources


def arrays(units: Sequence[Unit], live: Mapping[str, str], largest: int) -> list[Array]:
    """Arrays in an order in which they can be submitted.

    Args:
        units: the jobs, parents before children.
        live: key of a stage in a job of an earlier submission -> SLURM's id of that job.
        largest: most elements of an array (the site's MaxArraySize).
    """
    builder = _Builder(units, live, largest)
    waiting = list(units)
    while waiting:
        ready = [unit for unit in waiting if builder.may_come(unit)]
        assert ready, "the stages of a plan have no circle"
        builder.add(ready)
        taken = {unit.keys for unit in ready}
        waiting = [unit for unit in waiting if unit.keys not in taken]
    return builder.arrays


class _Builder:
    def __init__(self, units: Sequence[Unit], live: Mapping[str, str], largest: int) -> None:
        self._live, self._largest = live, largest
        self._owner = {key: unit for unit in units for key in unit.keys}
        self._seat: dict[tuple[str, ...], tuple[int, int]] = {}
        self._rank = _ranks(units, self._owner)
        self.arrays: list[Array] = []

    def may_come(self, unit: Unit) -> bool:
        """Whether all jobs that it waits for have a seat."""
        return all(self._owner[p].keys in self._seat for p in unit.parents if p not in self._live)

    def add(self, ready: Sequence[Unit]) -> None:
        """Give a seat to jobs all of whose parents have one."""
        paired: dict[Hashable, list[Unit]] = defaultdict(list)
        listed: dict[Hashable, list[Unit]] = defaultdict(list)
        for unit in sorted(ready, key=lambda unit: self._rank[unit.keys]):
            edges = self._edges(unit)
            if len(edges) == 1 and edges[0].array is not None:
                paired[unit.resources, edges[0].array].append(unit)
            else:
                listed[unit.resources, edges].append(unit)
        for same in listed.values():
            self._append(same, self._edges(same[0]))
        for same in paired.values():
            self._pair(same)

    def _edges(self, unit: Unit) -> tuple[Edge, ...]:
        found = set()
        for parent in unit.parents:
            if parent in self._live:
                found.add(Edge(job=self._live[parent]))
            else:
                array, element = self._seat[self._owner[parent].keys]
                found.add(Edge(array=array, element=element))
        return tuple(sorted(found, key=lambda e: (e.job, e.array or 0, e.element or 0)))

    def _pair(self, units: Sequence[Unit]) -> None:
        """Jobs that each wait for one element of the same array, in as few arrays as can be."""
        by_parent: dict[int, list[Unit]] = defaultdict(list)
        for unit in units:
            (edge,) = self._edges(unit)
            assert edge.element is not None
            by_parent[edge.element].append(unit)
        (edge,) = self._edges(units[0])
        if max(len(children) for children in by_parent.values()) < len(by_parent):
            for row in _rows(by_parent):
                self._append(row, (Edge(array=edge.array),))
        for element, children in by_parent.items():
            if children:
                self._append(children, (Edge(array=edge.array, element=element),))

    def _append(self, units: Sequence[Unit], edges: tuple[Edge, ...]) -> None:
        for start in range(0, len(units), self._largest):
            part = tuple(units[start : start + self._largest])
            for element, unit in enumerate(part):
                self._seat[unit.keys] = (len(self.arrays), element)
            self.arrays.append(Array(units=part, edges=edges))


def _rows(by_parent: dict[int, list[Unit]]) -> Iterator[list[Unit]]:
    """Takes one child of each of the elements 0, 1, 2 ... as long as that pairs at least two."""
    while True:
        width = 0
        while by_parent.get(width):
            width += 1
        if width < 2:
            return
        yield [by_parent[element].pop(0) for element in range(width)]


def _ranks(
    units: Sequence[Unit], owner: Mapping[str, Unit]
) -> dict[tuple[str, ...], tuple[float, float, str]]:
    """How jobs are ordered within an array: most children first, then the longest chain."""
    children: Counter[tuple[str, ...]] = Counter()
    chain = {unit.keys: unit.seconds for unit in units}
    for unit in reversed(units):
        for parent in unit.parents & owner.keys():
            above = owner[parent]
            children[above.keys] += 1
            chain[above.keys] = max(chain[above.keys], above.seconds + chain[unit.keys])
    return {unit.keys: (-children[unit.keys], -chain[unit.keys], unit.keys[0]) for unit in units}


def dependency(edges: Sequence[Edge], jobs: Sequence[Sequence[str]]) -> str:
    """The edges as sbatch writes them.

    Args:
        edges: of one array.
        jobs: for each array submitted so far, the ids of its elements.
    """
    paired, single = [], []
    for edge in edges:
        if edge.array is None:
            single.append(edge.job)
        elif edge.element is None:
            paired.append("aftercorr:" + jobs[edge.array][0].split("_")[0])
        else:
            single.append(jobs[edge.array][edge.element])
    return ",".join([*paired, *(["afterok:" + ":".join(single)] if single else [])])
