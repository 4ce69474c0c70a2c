"""Who races whom, over what, and what was answered so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from analysis.data.paired import Link
from analysis.metrics import Array
from analysis.race.schedule import Leaf, Look


@dataclass(frozen=True, kw_only=True)
class Group:
    """Cells that compete: those of one model at one rate.

    Attributes:
        name: unique in the race, for people: "smollm2-135m at 81.25 % TCr".
        model: theirs.
        cells: two or more keys.
        methods: what each is but for its calibration seed; cells of one method are no rivals.
            Empty: each is of its own.
    """

    name: str
    model: str
    cells: tuple[str, ...]
    methods: tuple[str, ...] = ()

    def rivals(self) -> tuple[tuple[str, str], ...]:
        """All pairs of cells of different methods, in the order of their keys."""
        kinds = dict(zip(self.cells, self.methods or self.cells, strict=True))
        return tuple(
            (one, two) for one, two in combinations(sorted(kinds), 2) if kinds[one] != kinds[two]
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What one cell answered of one leaf: the first n documents of its seeded order.

    Attributes:
        numerator: (n,) scores, or log-likelihoods in nats.
        weight: (n,) ones, or the words, bytes or tokens of the log-likelihoods.
        cluster: (n,) numbers of what documents share (a passage, a word), the same for every cell;
            None where every document stands for itself.
    """

    numerator: Array
    weight: Array
    cluster: NDArray[np.int_] | None = None

    def __len__(self) -> int:
        return len(self.numerator)

    def first(self, count: int) -> Answers:
        """Those to the first so many documents."""
        cluster = None if self.cluster is None else self.cluster[:count]
        return replace(
            self, numerator=self.numerator[:count], weight=self.weight[:count], cluster=cluster
        )


CellAnswers = Mapping[str, Answers]
"""Leaf -> what one cell answered of it."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The tasks of one model's race, and what its dense cell scored on all their documents.

    Attributes:
        model: the model.
        dense: key of its dense cell, which answered all documents.
        leaves: what is asked.
        links: task -> how its score follows from its documents: their mean, or of r, nats per
            unit, exp(-r) ("perplexity") or -r / ln 2 ("bits").
        higher: task -> whether a higher mean is better (of nats per unit it always is).
        scores: task -> the dense cell's score over all documents: a mean, or nats per unit.
    """

    model: str
    dense: str
    leaves: tuple[Leaf, ...]
    links: Mapping[str, Link]
    higher: Mapping[str, bool]
    scores: Mapping[str, float]

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Names, in the order of the leaves."""
        return tuple(dict.fromkeys(leaf.task for leaf in self.leaves))

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """Task -> all its documents."""
        totals = dict.fromkeys(self.tasks, 0)
        for leaf in self.leaves:
            totals[leaf.task] += leaf.size
        return totals

    def counted(self, by: str) -> tuple[str, ...]:
        """The tasks that a quantity is over: Sr2 wants those where a higher score is better."""
        if by == "sr1":
            return self.tasks
        if by == "log_likelihood":
            return tuple(task for task in self.tasks if self.links[task] != "mean")
        return tuple(t for t in self.tasks if self.links[t] == "mean" and self.higher[t])


@dataclass(frozen=True, kw_only=True)
class Field:
    """A whole race.

    Attributes:
        contests: by model.
        groups: who competes, of all families.
        alone: cells without a rival, with their model.
    """

    contests: Mapping[str, Contest]
    groups: tuple[Group, ...]
    alone: Mapping[str, str]

    @cached_property
    def cells(self) -> tuple[str, ...]:
        """All that race or are asked alone, each once."""
        return tuple(self._models)

    def tests(self, family: str) -> list[int]:
        """Per group, how many tests the family has that its pairs belong to.

        Args:
            family: "group" or "sweep"; a pair of two groups is one test of a sweep.
        """
        own = [group.rivals() for group in self.groups]
        if family == "group":
            return [len(pairs) for pairs in own]
        every = len({pair for pairs in own for pair in pairs})
        return [every] * len(own)

    def model_of(self, cell: str) -> str:
        """The model of a cell of the race."""
        return self._models[cell]

    @cached_property
    def _models(self) -> Mapping[str, str]:
        return {**{c: group.model for group in self.groups for c in group.cells}, **self.alone}


def answered(answers: CellAnswers, look: Look) -> bool:
    """Whether a cell has answered all documents of a look."""
    return all(
        leaf in answers and len(answers[leaf]) >= count for leaf, count in look.counts.items()
    )


def at_look(answers: CellAnswers, look: Look) -> dict[str, Answers]:
    """A cell's answers to the documents of a look, which may be fewer than it has."""
    return {leaf: answers[leaf].first(count) for leaf, count in look.counts.items()}
