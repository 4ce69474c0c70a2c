"""The looks of a race: how many documents of each leaf task are asked by when."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.race.settings import FEWEST_OF_LEAF


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A task of lm-eval that is evaluated by itself.

    Attributes:
        name: its own.
        task: the task that it counts to: its group, or itself.
        size: all its documents.
    """

    name: str
    task: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Look:
    """How far every surviving cell is asked by one look.

    Attributes:
        number: 1 for the first.
        per_task: documents of each task, or all that it has.
        counts: leaf -> documents, the first so many of its seeded order.
    """

    number: int
    per_task: int
    counts: Mapping[str, int]

    @property
    def documents(self) -> int:
        """Of all tasks together."""
        return sum(self.counts.values())


def looks(leaves: Sequence[Leaf], first: int) -> tuple[Look, ...]:
    """Looks at `first`, twice, four times ... as many documents a task, then at what is left.

    Every task gets as many, for Sr weighs tasks equally; within a task the leaves have their share
    by size and at least `FEWEST_OF_LEAF`. Counts never fall from one look to the next.
    """
    tasks: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        tasks.setdefault(leaf.task, []).append(leaf)
    totals = {task: sum(leaf.size for leaf in parts) for task, parts in tasks.items()}
    most = max(totals.values(), default=0)
    found: list[Look] = []
    per_task = first
    while most:
        per_task = min(per_task, most)
        counts = {
            leaf.name: count
            for task, parts in tasks.items()
            for leaf, count in zip(
                parts,
                allocate(min(per_task, totals[task]), [leaf.size for leaf in parts]),
                strict=True,
            )
        }
        found.append(Look(number=len(found) + 1, per_task=per_task, counts=counts))
        if per_task == most:
            break
        per_task *= 2
    return tuple(found)


def allocate(total: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """`total` documents over leaves in proportion to their sizes, at least 2 each.

    By highest averages (Webster 1832): one after the other to the leaf that is furthest behind,
    so a larger total never takes a document from a leaf. More than `total` where the leaves are so
    many that 2 of each are more.
    """
    counts = [min(FEWEST_OF_LEAF, size) for size in sizes]
    waiting = [
        ((2 * count + 1) / size, i)
        for i, (count, size) in enumerate(zip(counts, sizes, strict=True))
        if count < size
    ]
    heapq.heapify(waiting)
    for _ in range(min(total, sum(sizes)) - sum(counts)):
        _, i = heapq.heappop(waiting)
        counts[i] += 1
        if counts[i] < sizes[i]:
            heapq.heappush(waiting, ((2 * counts[i] + 1) / sizes[i], i))
    return tuple(counts)
