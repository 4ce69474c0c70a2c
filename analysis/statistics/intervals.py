"""How sure a difference of retentions is: by formula, and by drawing documents again.

Tasks are independent of each other; within one, cells that share documents vary together
and the dense model enters every retention. Both ways count both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.data.panel import Panel
from analysis.metrics import Array, Rows

LEVEL = 0.95
DRAWS = 2000
SEED = 20250507


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
    parts = [_propagated(each[i], *_slopes(scores[:, i], bool(up), panel, rows))
             for i, up in enumerate(ups)]  # fmt: skip
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
    return np.asarray(np.outer(slope, slope) * own + mixed + mixed.T
                      + np.outer(pull, pull) * spread)  # fmt: skip


def difference_stderr(covariance: Array, weight: Array) -> Array:
    """(k, k) standard errors of w_a Sr_a - w_b Sr_b."""
    scaled = covariance * np.outer(weight, weight)
    own = np.diag(scaled)
    spread = own[:, None] + own[None, :] - 2 * scaled
    return np.sqrt(np.maximum(spread, 0))


@lru_cache(maxsize=8)  # every group of cells of a panel is a slice of the same draws
def bootstrap(panel: Panel, by: str, *, draws: int = DRAWS, seed: int = SEED) -> Array:
    """(draws, C) Sr on documents drawn again within each task and subtask.

    Every draw gives all cells, and the baseline, the same documents, so that differences
    are paired (Efron and Tibshirani 1993, section 6.4). A cell that does not share the
    documents of every task that counts is nan.
    """
    nothing = np.full((draws, len(panel.cells)), np.nan)
    kept = np.flatnonzero(panel.counted & (panel.higher if by == "sr2" else True))
    shared = [panel.samples[task] for task in kept]
    found = [s for s in shared if s is not None and panel.baseline is not None
             and s.shared[panel.baseline]]  # fmt: skip
    if panel.baseline is None or len(found) < len(shared) or not found:
        return nothing
    rows = np.flatnonzero(np.all([s.shared for s in found], axis=0))
    rng = np.random.default_rng(seed)
    scores = np.stack([s.resampled(rows, draws, rng) for s in found], axis=-1)
    base = scores[:, rows == panel.baseline]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(panel.higher[kept], scores / base, base / scores)
        together = scores.sum(axis=-1) / base.sum(axis=-1)
    nothing[:, rows] = together if by == "sr2" else ratio.mean(axis=-1)
    return nothing


def percentile(draws: Array) -> Interval:
    """The bootstrap's percentile interval of one quantity; nan if a draw has no value."""
    if not np.isfinite(draws).all():
        return Interval(low=np.nan, high=np.nan)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(low=float(low), high=float(high))


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
