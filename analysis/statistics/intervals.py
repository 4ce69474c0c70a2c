"""How sure a retention, or a difference of two, is: covariances and intervals.

Tasks are independent of each other; within one, cells that share documents vary together
and the dense model enters every retention. Both are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.data.panel import Panel
from analysis.data.score_limits import LEVEL as LEVEL
from analysis.metrics import Array, Rows, unbounded
from analysis.statistics.mover import ratios


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An interval that covers the truth at `LEVEL`."""

    low: float
    high: float


def normal(value: float, stderr: float, *, df: float = np.inf) -> Interval:
    """Value -+ t stderr, with `df` degrees of freedom behind the standard error."""
    half = _t(df) * stderr
    return Interval(low=value - half, high=value + half)


@lru_cache(maxsize=4096)  # a report asks for the same one thousands of times
def _t(df: float) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, df))


@unbounded()
def sr_covariance(panel: Panel, rows: Rows, by: str) -> Array:
    """(k, k) covariance of Sr of k cells, first order, the shared baseline counted once.

    With S_t the covariance of the scores on task t, of these cells and the baseline, and J_t
    the derivatives of R_t by them: sum of J_t S_t J_t' / T^2 for Sr1. Sr2 is one ratio of
    sums: J (sum of S_t) J'.
    The baseline's own row is 0: its Sr is 1 by definition.
    """
    if panel.baseline is None:
        return np.full((len(rows),) * 2, np.nan)
    extended = [*rows, panel.baseline]
    kept = np.flatnonzero(panel.counted & (panel.higher if by == "sr2" else True))
    scores = panel.comparable()[extended][:, kept]
    each = [panel.covariance(int(task), extended) for task in kept]
    if by == "sr2":
        slopes = _slopes(scores.sum(axis=1), True, panel, rows)
        return _propagated(np.sum(each, axis=0), *slopes)
    ups = panel.higher[kept]
    parts = [
        _propagated(each[i], *_slopes(scores[:, i], bool(up), panel, rows))
        for i, up in enumerate(ups)
    ]
    return np.asarray(np.sum(parts, axis=0) / max(len(kept), 1) ** 2)


def _slopes(scores: Array, up: bool, panel: Panel, rows: Rows) -> tuple[Array, Array]:
    """(k,) derivatives of k retentions by their own score, and by the baseline's, the last."""
    own, base = scores[:-1], scores[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.full(len(own), 1 / base) if up else -base / own**2
        pull = -own / base**2 if up else 1 / own
    itself = np.asarray(rows) == panel.baseline
    return np.where(itself, 0.0, slope), np.where(itself, 0.0, pull)


def _propagated(scores: Array, slope: Array, pull: Array) -> Array:
    """(k, k) covariance of k retentions from the (k + 1, k + 1) one of their scores.

    Written out, so that a missing standard error stays with the cell that lacks it.
    """
    own, base, spread = scores[:-1, :-1], scores[:-1, -1], scores[-1, -1]
    mixed = np.outer(slope * base, pull)
    return np.asarray(
        np.outer(slope, slope) * own + mixed + mixed.T + np.outer(pull, pull) * spread
    )


def difference_stderr(covariance: Array, weight: Array) -> Array:
    """(k, k) standard errors of w_a Sr_a - w_b Sr_b."""
    with unbounded():
        scaled = covariance * np.outer(weight, weight)
        own = np.diag(scaled)
        spread = own[:, None] + own[None, :] - 2 * scaled
    return np.sqrt(np.maximum(spread, 0))


@unbounded()
def sr_intervals(
    panel: Panel, by: str, pairs: Sequence[tuple[int, int | None]], weight: Array | None = None
) -> list[Interval]:
    """Of w_a Sr_a - w_b Sr_b for pairs of cells, or of w_a Sr_a alone where b is None.

    By MOVER (`analysis.statistics.mover`), which has width at the edges too. Sr2 is one ratio of
    sums; Sr1 is the mean over tasks, whose distances to the ends of each R_t's interval add in
    quadrature (tasks are independent). Of perplexities, which have no edges, the interval of a
    task is the normal one.

    Args:
        panel: the scores.
        by: "sr1" or "sr2".
        pairs: rows of the panel.
        weight: (C,) factors before Sr; None: 1.
    """
    if panel.baseline is None or not pairs:
        return [Interval(low=np.nan, high=np.nan)] * len(pairs)
    kept = np.flatnonzero(panel.counted & (panel.higher if by == "sr2" else True))
    factor = np.ones(len(panel.cells)) if weight is None else weight
    given = _Given.of(panel, pairs, factor)
    if by == "sr2":
        low, high = given.ratios(panel, kept)
    else:
        each = [
            given.ratios(panel, np.array([task]))
            if panel.higher[task]
            else given.perplexity(panel, int(task))
            for task in kept
        ]
        value = given.difference(panel.retentions().value)[:, kept]
        down = np.sqrt(np.sum([(value[:, i] - one[0]) ** 2 for i, one in enumerate(each)], axis=0))
        up = np.sqrt(np.sum([(one[1] - value[:, i]) ** 2 for i, one in enumerate(each)], axis=0))
        low, high = value.mean(axis=1) - down / len(kept), value.mean(axis=1) + up / len(kept)
    return [Interval(low=float(a), high=float(b)) for a, b in zip(low, high, strict=True)]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Given:
    """N pairs as three rows each: the first cell, the second (or the baseline), the baseline.

    Attributes:
        rows: (N, 3) rows of the panel.
        top: (N, 3) how they enter the numerator of Sr; the baseline's own Sr is 1 as it is.
    """

    rows: NDArray[np.int_]
    top: Array

    @classmethod
    def of(cls, panel: Panel, pairs: Sequence[tuple[int, int | None]], factor: Array) -> _Given:
        base = panel.baseline if panel.baseline is not None else 0
        rows = np.array([(a, base if b is None else b, base) for a, b in pairs])
        minus = [0.0 if b is None else -float(factor[b]) for _, b in pairs]
        top = np.column_stack([factor[rows[:, 0]], minus, np.zeros(len(rows))])
        for column in (0, 1):  # the baseline in the numerator is that of the denominator
            itself = rows[:, column] == base
            top[itself, 2] += top[itself, column]
            top[itself, column] = 0.0
        return cls(rows=rows, top=top)

    def difference(self, values: Array) -> Array:
        """(N, T) the weighted difference of (C, T) values."""
        parts = [
            np.where(self.top[:, [i]] == 0, 0.0, self.top[:, [i]] * values[self.rows[:, i]])
            for i in range(3)
        ]
        return np.asarray(sum(parts))

    def ratios(self, panel: Panel, tasks: NDArray[np.int_]) -> tuple[Array, Array]:
        """(N,) ends of the ratio of sums over some tasks."""
        score = panel.comparable()[self.rows][:, :, tasks].transpose(0, 2, 1)
        low, high = panel.limits
        spread = np.stack([self._correlations(panel, int(task)) for task in tasks], axis=1)
        return ratios(
            score,
            low[self.rows][:, :, tasks].transpose(0, 2, 1),
            high[self.rows][:, :, tasks].transpose(0, 2, 1),
            spread,
            self.top,
        )

    def _correlations(self, panel: Panel, task: int) -> Array:
        """(N, 3, 3); rows that are one measurement are correlated by 1."""
        some, place = np.unique(self.rows, return_inverse=True)
        place = place.reshape(self.rows.shape)
        matrix = panel.covariance(task, some)
        size = np.sqrt(np.diag(matrix))
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.nan_to_num(matrix / np.outer(size, size), posinf=0.0, neginf=0.0)
        np.fill_diagonal(found, 1.0)
        return np.asarray(np.clip(found, -1, 1)[place[:, :, None], place[:, None, :]])

    def perplexity(self, panel: Panel, task: int) -> tuple[Array, Array]:
        """(N,) normal ends of the difference of R_t where lower is better."""
        value = self.difference(panel.retentions().value)[:, task]
        some, place = np.unique(self.rows, return_inverse=True)
        place = place.reshape(self.rows.shape)
        rows = [int(row) for row in some]
        scores = panel.comparable()[[*rows, panel.baseline or 0], task]
        spread = _propagated(
            panel.covariance(task, [*rows, panel.baseline or 0]),
            *_slopes(scores, False, panel, rows),
        )
        a, b = place[:, 0], place[:, 1]
        w, v = self.top[:, 0], self.top[:, 1]
        variance = w**2 * spread[a, a] + np.where(
            v == 0, 0.0, v**2 * spread[b, b] + 2 * w * v * spread[a, b]
        )
        half = _t(np.inf) * np.sqrt(np.maximum(variance, 0))
        return value - half, value + half


MARGIN = 0.02
"""The difference in retention that does not matter here: 2 points of the dense model."""


def tost(
    difference: ArrayLike, stderr: ArrayLike, *, margin: float = MARGIN, df: float = np.inf
) -> Array:
    """P value of equivalence: small if |difference| < margin beyond reasonable doubt.

    Args:
        difference: of two retentions.
        stderr: its standard error.
        margin: the largest difference that counts as none, above 0.
        df: degrees of freedom behind the standard error.

    Returns:
        The larger of the two one-sided p values; nan where the standard error is missing.

    Raises:
        ValueError: if the margin is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"a margin of equivalence is above 0, not {margin}")
    value, error = np.asarray(difference, dtype=float), np.asarray(stderr, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (margin - np.abs(value)) / error
    t = np.where((error == 0) & (np.abs(value) == margin), 0.0, t)
    return np.asarray(stats.t.sf(t, df))
