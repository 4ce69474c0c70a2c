"""Many races at once, for benchmarks: the rules of `analysis.race` on counts instead of answers.

The counts of a look are, per leaf, how many documents each two cells both got right. All else, the
rules, the schedule and Holm's correction, is `analysis.race`'s own; `race.py check` holds the rest
to `analysis.race.decide`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.metrics import Array
from analysis.race.field import Contest, Group
from analysis.race.rules import rule
from analysis.race.schedule import Leaf, looks
from analysis.race.settings import FEWEST_DISCORDANT, RaceSettings
from analysis.statistics.holm import holm_rows


def contest(
    sizes: dict[str, int], scores: dict[str, float], parts: dict[str, list[int]] | None = None
) -> Contest:
    """Tasks whose dense cell has these scores; `parts` gives the sizes of a task's leaves."""
    leaves = [
        Leaf(name=f"{task}_{i}", task=task, size=size)
        for task, total in sizes.items()
        for i, size in enumerate((parts or {}).get(task, [total]))
    ]
    return Contest(
        model="m",
        dense="dense",
        leaves=tuple(leaves),
        links=dict.fromkeys(sizes, "mean"),
        higher=dict.fromkeys(sizes, True),
        scores=scores,
    )


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Of R races and m pairs at one look; (R, m) each."""

    value: Array
    variance: Array
    discordant: Array


def differences(own: Contest, both: Array, asked: Sequence[int], pairs: Array) -> Differences:
    """Post-stratified differences of Sr2, as `analysis.race.estimator` has them.

    Args:
        own: the tasks.
        both: (R, leaves, k, k) documents that two cells both got right; each's own on the diagonal.
        asked: documents of each leaf.
        pairs: (m, 2) places of cells.
    """
    a, b = pairs.T
    weight = 1 / sum(own.scores.values())
    shape = (len(both), len(pairs))
    value, variance, discordant = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    totals = dict.fromkeys(own.tasks, 0)
    for leaf, count in zip(own.leaves, asked, strict=True):
        totals[leaf.task] += count
    for place, (leaf, count) in enumerate(zip(own.leaves, asked, strict=True)):
        here = both[:, place].astype(float)
        common = here[:, a, b]
        one, two = here[:, a, a] - common, here[:, b, b] - common
        share = leaf.size / own.sizes[leaf.task]
        value += weight * share * (one - two) / count
        spread = (one + two - (one - two) ** 2 / count) / (count - 1) / count
        more = count / totals[leaf.task] / count**2  # one discordant pair more
        variance += (weight * share) ** 2 * (spread + more)
        discordant += one + two
    return Differences(value=value, variance=variance, discordant=discordant)


@dataclass(frozen=True, kw_only=True)
class Played:
    """What became of R races of one group.

    Attributes:
        last: (R, k) number of the look up to which each cell was asked, from 1.
        beaten: (R, k) whether it lost.
        wrong: (R,) whether any verdict has the wrong sign, or tells equal cells apart.
        uncovered: (R,) whether any interval missed the truth at any look while both were asked.
    """

    last: Array
    beaten: Array
    wrong: Array
    uncovered: Array


def play(
    settings: RaceSettings,
    own: Contest,
    group: Group,
    seen: Sequence[Differences] | Iterator[Differences],
    truth: Array,
    tests: int,
) -> Played:
    """Races of one group over the looks of the schedule.

    Args:
        settings: of the race.
        own: its tasks.
        group: the cells, in the order of the pairs' places.
        seen: differences of its pairs at each look.
        truth: (m,) true differences.
        tests: of the family.
    """
    test = rule(settings, own, looks(own.leaves, settings.first_look))
    places = pairs_of(group)
    a, b = places.T
    runs = 0
    for number, now in enumerate(seen, 1):
        if not runs:
            runs = len(now.value)
            p, ahead = np.ones((runs, len(places))), np.zeros((runs, len(places)))
            alive = np.ones((runs, len(group.cells)), dtype=bool)
            racing = np.ones(runs, dtype=bool)
            last = np.zeros((runs, len(group.cells)), dtype=int)
            wrong, uncovered = np.zeros(runs, dtype=bool), np.zeros(runs, dtype=bool)
        last[alive & racing[:, None]] = number
        asked = alive[:, a] & alive[:, b] & racing[:, None]
        root = np.sqrt(now.variance)
        found = test.p(now.value / root, now.variance, number)
        enough = now.discordant >= FEWEST_DISCORDANT
        less = (found < p) & asked & enough
        p, ahead = np.where(less, found, p), np.where(less, np.sign(now.value), ahead)
        reach = test.boundary(number, now.variance, settings.alpha / tests) * root
        uncovered |= (asked & enough & (np.abs(now.value - truth) > reach)).any(axis=1)
        told = holm_rows(p) * (tests / len(places)) <= settings.alpha
        wrong |= (told & (ahead != np.sign(truth))).any(axis=1)
        for i, (one, two) in enumerate(places.tolist()):
            alive[:, two] &= ~(told[:, i] & (ahead[:, i] > 0))
            alive[:, one] &= ~(told[:, i] & (ahead[:, i] < 0))
        racing &= (alive[:, a] & alive[:, b]).any(axis=1)
    return Played(last=last, beaten=~alive, wrong=wrong, uncovered=uncovered)


def pairs_of(group: Group) -> np.ndarray:
    """(m, 2) places of the rivals among the cells of a group."""
    place = {cell: i for i, cell in enumerate(group.cells)}
    return np.array([(place[one], place[two]) for one, two in group.rivals()])
