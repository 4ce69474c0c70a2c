"""The two rules of a race: when is a difference told, and with which p value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from numpy.typing import ArrayLike

from analysis.metrics import Array
from analysis.race.field import Contest
from analysis.race.schedule import Look
from analysis.race.settings import RaceSettings
from analysis.statistics import sequential, spending


class Rule(Protocol):
    """A test that may be made at several looks."""

    def boundary(self, look: int, variance: ArrayLike, alpha: ArrayLike) -> Array:
        """|z| that tells a difference at a look (from 1), at this level over all looks."""
        ...

    def p(self, z: ArrayLike, variance: ArrayLike, look: int) -> Array:
        """The least level at which z tells a difference at this look."""
        ...

    def spent(self, look: int, alpha: float) -> float:
        """How much of the level may have been spent by a look."""
        ...


@dataclass(frozen=True)
class Anytime:
    """Rule A: the normal mixture, valid at any stopping, extension or further look.

    Attributes:
        rho: see `analysis.statistics.sequential`.
    """

    rho: float

    def boundary(self, look: int, variance: ArrayLike, alpha: ArrayLike) -> Array:
        """See `Rule`; the look does not matter."""
        return sequential.mixture_boundary(variance, alpha, self.rho)

    def p(self, z: ArrayLike, variance: ArrayLike, look: int) -> Array:
        """See `Rule`."""
        return sequential.mixture_p(z, variance, self.rho)

    def spent(self, look: int, alpha: float) -> float:
        """All of it: no plan of looks divides it."""
        return alpha


@dataclass(frozen=True)
class Spending:
    """Rule B: alpha spending of Pocock's type over the looks of a schedule.

    Attributes:
        fractions: of the information at each look.
    """

    fractions: tuple[float, ...]

    def boundary(self, look: int, variance: ArrayLike, alpha: ArrayLike) -> Array:
        """See `Rule`; the variance does not matter."""
        return spending.table(self.fractions).boundary(self._at(look), alpha)

    def p(self, z: ArrayLike, variance: ArrayLike, look: int) -> Array:
        """See `Rule`."""
        return spending.table(self.fractions).p(z, self._at(look))

    def spent(self, look: int, alpha: float) -> float:
        """See `Rule`."""
        return float(spending.spent(self.fractions[self._at(look)], alpha))

    def _at(self, look: int) -> int:
        return min(look, len(self.fractions)) - 1


def rule(settings: RaceSettings, contest: Contest, looks: tuple[Look, ...]) -> Rule:
    """The rule of a race for the cells of one model."""
    if settings.rule == "anytime":
        return Anytime(sequential.mixture_rho(settings.assumed_spread))
    known = information(contest, looks, settings.by)
    return Spending(tuple(one / known[-1] for one in known))


def information(contest: Contest, looks: tuple[Look, ...], by: str) -> list[float]:
    """1/V of a difference at each look, if a document's difference has variance 1 everywhere.

    It is known before anything is raced; what the looks' variances really are to each other
    differs little, for all tasks grow alike.
    """
    kept = contest.counted(by)
    found = []
    for look in looks:
        variance = sum(
            _weight(contest, leaf.task, by, len(kept)) ** 2
            * (leaf.size / contest.sizes[leaf.task]) ** 2
            / look.counts[leaf.name]
            for leaf in contest.leaves
            if leaf.task in kept
        )
        found.append(1 / variance)
    return found


def _weight(contest: Contest, task: str, by: str, count: int) -> float:
    """How much a score of a task counts in a difference."""
    if by == "sr2":
        return 1 / sum(contest.scores[one] for one in contest.counted(by))
    if by == "log_likelihood" or contest.links[task] == "perplexity":
        return 1 / count
    return 1 / (count * abs(contest.scores[task]))
