"""Family-wise errors of races, and the coverage of their intervals, where nothing is better.

    python benchmarks/race_errors.py --runs 10000

Four cells of a group are equally good, in one of several ways, and answer the paper's three tasks,
paired as in `race.py`. Counts of documents are drawn by how the four answered them, so many races
cost little. A race errs if it tells any two cells apart, at any look.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from analysis.race.field import Contest, Group
from analysis.race.rules import rule
from analysis.race.schedule import allocate, looks
from analysis.race.settings import FEWEST_DISCORDANT, RaceSettings
from benchmarks.racing import contest, differences, pairs_of

SIZES = {"MMLU-Pro": 12032, "BBH": 6511, "MATH": 5000}
CELLS = ("a", "b", "c", "d")
PHI = 0.5
NAIVE = "one look"
"""The z test that is valid for one look, made at each."""
STEP = 16
"""Documents of each task from one look to the next, of whoever peeks."""


@dataclass(frozen=True, kw_only=True)
class Null:
    """One way in which four cells are equally good.

    Attributes:
        parts: sizes of the leaves of each task.
        rates: (leaves, 4) shares of right answers.
    """

    parts: dict[str, list[int]]
    rates: np.ndarray

    @property
    def own(self) -> Contest:
        """The tasks; the dense cell is 1.2 times as good."""
        at, scores = 0, {}
        for task, sizes in self.parts.items():
            own = self.rates[at : at + len(sizes)]
            scores[task] = float(1.2 * np.average(own[:, 0], weights=sizes))
            at += len(sizes)
        return contest(SIZES, scores, self.parts)


def nulls() -> dict[str, Null]:
    """Equal everywhere; with MATH near 0; over tasks that cancel; over subtasks that cancel."""
    whole = {task: [size] for task, size in SIZES.items()}
    plain = np.array([0.3, 0.5, 0.1])[:, None] * np.ones(4)
    low = np.array([0.2, 0.4, 0.002])[:, None] * np.ones(4)
    shift = np.array([[0.1, -0.1, 0.05, 0.0], [-0.1, 0.05, 0.0, 0.0], [0.0, 0.05, -0.05, 0.0]])
    unequal = {"MMLU-Pro": [8000, 3500, 532], "BBH": [6000, 400, 111], "MATH": [4500, 500]}
    inside = np.repeat([0.3, 0.5, 0.15], [3, 3, 2])[:, None] * np.ones(4)
    # What a cell gains on a small part it loses on the large one, by the sizes of the parts.
    for at, sizes in zip((0, 3, 6), unequal.values(), strict=True):
        for cell, gain in ((1, 0.3), (2, -0.1)):
            inside[at + len(sizes) - 1, cell] += gain
            inside[at, cell] -= gain * sizes[-1] / sizes[0]
    return {
        "equal everywhere": Null(parts=whole, rates=plain),
        "MATH at 0.2 %": Null(parts=whole, rates=low),
        "tasks cancel": Null(parts=whole, rates=plain + shift),
        "unequal subtasks cancel": Null(parts=unequal, rates=inside),
    }


def patterns(rates: np.ndarray) -> np.ndarray:
    """(2^k,) probability of each way in which k cells answer one document."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    edge = special.ndtri(rates)[:, None]
    right = special.ndtr((edge - np.sqrt(PHI) * nodes) / np.sqrt(1 - PHI))
    ways = _ways(len(rates))
    each = np.where(ways[:, :, None], right, 1 - right).prod(axis=1) @ weights
    return np.asarray(each / each.sum())


def _ways(count: int) -> np.ndarray:
    """(2^k, k) which cells are right."""
    return (np.arange(2**count)[:, None] >> np.arange(count)) % 2 == 1


def counts(
    null: Null, schedule: Sequence[Sequence[int]], runs: int, seed: int
) -> Iterator[np.ndarray]:
    """(runs, leaves, k, k) per look, documents that two cells both got right."""
    rng = np.random.default_rng(seed)
    ways = _ways(len(CELLS)).astype(np.int64)
    pairs = (ways[:, :, None] * ways[:, None, :]).reshape(len(ways), -1)
    chance = [patterns(rates) for rates in null.rates]
    total = np.zeros((runs, len(chance), pairs.shape[1]), dtype=np.int64)
    before = [0] * len(chance)
    for asked in schedule:
        for leaf, (old, new) in enumerate(zip(before, asked, strict=True)):
            if new > old:
                total[:, leaf] += rng.multinomial(new - old, chance[leaf], size=runs) @ pairs
        before = list(asked)
        yield total.reshape(runs, len(chance), len(CELLS), len(CELLS))


def doublings(own: Contest) -> list[list[int]]:
    """Documents of each leaf at the looks of a race."""
    return [[look.counts[leaf.name] for leaf in own.leaves] for look in looks(own.leaves, 128)]


def peeks(own: Contest) -> list[list[int]]:
    """Documents of each leaf for whoever looks every `STEP` documents of each task."""
    found = []
    for count in range(128, max(own.sizes.values()) + STEP, STEP):
        asked = []
        for task, size in own.sizes.items():
            parts = [leaf.size for leaf in own.leaves if leaf.task == task]
            asked += allocate(min(count, size), parts)
        found.append(asked)
    return found


def errs(null: Null, name: str, schedule: list[list[int]], runs: int, seed: int) -> tuple[int, int]:
    """Races that tell any pair apart, and those with any interval that misses 0, at any look."""
    own = null.own
    group = Group(name="g", model="m", cells=CELLS)
    places = pairs_of(group)
    settings = RaceSettings(rule="anytime" if name == NAIVE else name)
    test = rule(settings, own, looks(own.leaves, 128))
    level = settings.alpha / len(places)
    told, missed = np.zeros(runs, dtype=bool), np.zeros(runs, dtype=bool)
    single = float(stats.norm.isf(level / 2))
    for number, (asked, both) in enumerate(
        zip(schedule, counts(null, schedule, runs, seed), strict=True), 1
    ):
        now = differences(own, both, asked, places)
        enough = now.discordant >= FEWEST_DISCORDANT
        z = now.value / np.sqrt(now.variance)
        if name == NAIVE:
            p, edge = 2 * stats.norm.sf(np.abs(z)), single
        else:
            p, edge = test.p(z, now.variance, number), test.boundary(number, now.variance, level)
        told |= ((p <= level) & enough).any(axis=1)
        missed |= ((np.abs(z) > edge) & enough).any(axis=1)
    return int(told.sum()), int(missed.sum())


def upper(count: int, runs: int) -> float:
    """Upper 95 % limit of a share (Clopper and Pearson, one-sided)."""
    return float(stats.beta.ppf(0.95, count + 1, runs - count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--peeks", type=int, default=10_000, help="runs with a look every 16")
    parser.add_argument("--only", default="", help="the nulls with this in their name")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(f"{'null':24s} {'rule':9s} {'looks':>5s} {'races':>6s}  error  upper  coverage")
    chosen = {null: own for null, own in nulls().items() if given.only in null}
    for null, own in chosen.items():
        few, many = doublings(own.own), peeks(own.own)
        kinds = [(name, few, given.runs) for name in ("anytime", "spending", NAIVE)]
        kinds += [(name, many, given.peeks) for name in ("anytime", NAIVE) if given.peeks]
        for name, schedule, runs in kinds:
            told, missed = errs(own, name, schedule, runs, given.seed)
            print(
                f"{null:24s} {name:9s} {len(schedule):5d} {runs:6d}  {told / runs:.4f} "
                f"{upper(told, runs):.4f}  {1 - missed / runs:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
