"""Retention over compression: a bounded curve, and how far one can go before it matters.

Retention starts at exactly 1 and cannot fall below guessing, so the unbounded form of a
perplexity does not fit it. Here R(s) = c + (1 - c) exp(-(s/l)^k), a Weibull survival curve
above a floor c, written by the rate s_q at which R reaches q, so that the answer is a
parameter of the fit and has an interval of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.metrics import Array

LEVEL = 0.95
KEPT = 0.95
"""The retention that the point is asked for: 95 % of the dense model."""

FEWEST = 4
_STEEP = np.geomspace(0.2, 60.0, 40)  # k from a curve that falls at once to one like a step
_GRID = 90
_ZOOMS = 7
_STEPS = np.linspace(-3.0, 3.0, 25)  # around the best point, in steps of the grid before
_CLOSE = np.geomspace(1 / 1.5, 1.5, _GRID)
_NEAR = np.geomspace(1 / 4, 4, 48)


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """A fitted retention curve.

    Attributes:
        point: s_q, the rate at which retention reaches `kept`.
        low: lower end of its interval at `LEVEL`.
        high: upper end.
        open_low: the data do not close the interval below.
        open_high: they do not close it above.
        steepness: k; large means flat and then a cliff.
        floor: c.
        kept: q.
        rss: weighted squared errors.
        n: points.
    """

    point: float
    low: float
    high: float
    open_low: bool
    open_high: bool
    steepness: float
    floor: float
    kept: float
    rss: float
    n: int

    def value(self, s: ArrayLike) -> Array:
        """Retention that the curve gives at s."""
        return retained(s, self.point, self.steepness, floor=self.floor, kept=self.kept)


def retained(
    s: ArrayLike, point: ArrayLike, steepness: ArrayLike, *, floor: float = 0.0, kept: float = KEPT
) -> Array:
    """R(s) = c + (1 - c) ((q - c) / (1 - c))^((s / s_q)^k): 1 at 0, q at s_q, never below c."""
    base = np.log((kept - floor) / (1 - floor))
    at = np.asarray(s, dtype=float) / np.asarray(point, dtype=float)
    # Exponentials of logarithms: powers take several times as long, and there are millions.
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        reached = np.exp(np.asarray(steepness, dtype=float) * np.log(at))
        return np.asarray(floor + (1 - floor) * np.exp(base * reached))


def fit(
    s: ArrayLike,
    value: ArrayLike,
    stderr: ArrayLike | None = None,
    *,
    floor: float = 0.0,
    kept: float = KEPT,
) -> Tolerance | None:
    """Weighted least squares by profile over s_q, with the F interval of its profile.

    Args:
        s: (n,) rates above 0; one at 0 is left out, retention is 1 there by definition.
        value: (n,) retentions.
        stderr: (n,) standard errors, as relative weights; without them all weigh the same.
        floor: what guessing keeps, 0 <= c < kept.
        kept: the retention asked for, below 1.

    Returns:
        None with fewer than `FEWEST` points.

    Raises:
        ValueError: if floor and kept are not 0 <= floor < kept < 1.
    """
    if not 0 <= floor < kept < 1:
        raise ValueError(f"0 <= floor < kept < 1 is needed, not {floor} and {kept}")
    x, y, weight = _points(s, value, stderr)
    if len(x) < FEWEST:
        return None
    grid = np.geomspace(x.min() / 3, x.max() * 1.5, _GRID)
    point, steepness, least = _best(grid, x, y, weight, floor, kept)
    free = len(x) - 2
    limit = least * (1 + _f(1, free) / free)
    fine = _around(grid, point)
    errors = _lowest(_profile(fine, x, y, weight, floor, kept, _near(steepness)))
    inside = np.flatnonzero(errors <= limit)
    # Rounded outwards: the ends are the first points that the test refuses.
    first = max(int(inside[0]) - 1, 0) if len(inside) else 0
    last = min(int(inside[-1]) + 1, len(fine) - 1) if len(inside) else 0
    nearby = point / 1.005, point * 1.005
    low, high = (min(nearby[0], fine[first]), max(nearby[1], fine[last])) if len(inside) else nearby
    return Tolerance(
        point=point,
        low=float(low),
        high=float(high),
        open_low=bool(low <= grid[0]),
        open_high=bool(high >= grid[-1] or high > x.max()),
        floor=floor,
        kept=kept,
        rss=least,
        steepness=steepness,
        n=len(x),
    )


def band(
    one: Tolerance,
    s: ArrayLike,
    value: ArrayLike,
    stderr: ArrayLike | None,
    at: ArrayLike,
) -> tuple[Array, Array]:
    """The 95 % band of a fitted curve: all curves that an F test of both parameters allows.

    Args:
        one: the fit of (s, value, stderr).
        s: (n,) rates of the points.
        value: (n,) retentions.
        stderr: (n,) their standard errors, as they were given to `fit`.
        at: (m,) where the band is wanted.
    """
    x, y, weight = _points(s, value, stderr)
    grid = np.geomspace(x.min() / 3, x.max() * 1.5, _GRID)
    steeps = _near(one.steepness)
    grid = _around(grid, one.point)
    rss = _profile(grid, x, y, weight, one.floor, one.kept, steeps)
    free = one.n - 2
    allowed = np.argwhere(rss <= one.rss * (1 + 2 * _f(2, free) / free))
    pairs = [(one.point, one.steepness), *((grid[i], steeps[k]) for i, k in allowed)]
    points, steepnesses = (np.array(each)[:, None] for each in zip(*pairs, strict=True))
    curves = retained(np.asarray(at)[None, :], points, steepnesses, floor=one.floor, kept=one.kept)
    return curves.min(axis=0), curves.max(axis=0)


@lru_cache(maxsize=256)
def _f(first: int, second: int) -> float:
    """Quantile of F at `LEVEL`."""
    return float(stats.f.ppf(LEVEL, first, second))


def _points(s: ArrayLike, value: ArrayLike, stderr: ArrayLike | None) -> tuple[Array, Array, Array]:
    """The usable points and their weights, 1 on average."""
    x, y = np.asarray(s, dtype=float), np.asarray(value, dtype=float)
    error = np.ones(len(x)) if stderr is None else np.asarray(stderr, dtype=float)
    good = (x > 0) & np.isfinite(y) & np.isfinite(error) & (error > 0)
    weight = 1 / error[good]
    return x[good], y[good], weight / weight.mean() if good.any() else weight


def _profile(
    grid: Array,
    s: Array,
    y: Array,
    weight: Array,
    floor: float,
    kept: float,
    steep: Array = _STEEP,
) -> Array:
    """(points, steepnesses) squared errors on a grid of both."""
    curves = retained(s, grid[:, None, None], steep[:, None], floor=floor, kept=kept)
    return np.asarray((weight**2 * (y - curves) ** 2).sum(axis=-1))


def _lowest(errors: Array) -> Array:
    """(points,) the least error of each row, between the steepnesses by a parabola."""
    rows, at = np.arange(len(errors)), np.clip(errors.argmin(axis=1), 1, errors.shape[1] - 2)
    before, here, after = errors[rows, at - 1], errors[rows, at], errors[rows, at + 1]
    bend = before - 2 * here + after
    with np.errstate(divide="ignore", invalid="ignore"):
        bottom = here - (after - before) ** 2 / (8 * bend)
    lowest = errors.min(axis=1)
    closer = np.where(bottom >= 0, np.minimum(bottom, lowest), lowest)
    return np.asarray(np.where(bend > 0, closer, lowest))


def _around(grid: Array, point: float) -> Array:
    """The grid, finer around the best point: there the interval ends, if the data are good."""
    return np.sort(np.concatenate([grid, point * _CLOSE]))


def _near(steepness: float) -> Array:
    """Steepnesses around the best one, fine enough that the profile is not rounded up."""
    return np.asarray(steepness * _NEAR)


def _best(
    grid: Array, s: Array, y: Array, weight: Array, floor: float, kept: float
) -> tuple[float, float, float]:
    """(s_q, k, squared errors) of least squares: the best of the grid, refined."""
    points, steeps = grid, _STEEP
    for _ in range(_ZOOMS):
        rss = _profile(points, s, y, weight, floor, kept, steeps)
        at, steep = np.unravel_index(int(rss.argmin()), rss.shape)
        point, steepness, least = points[at], steeps[steep], rss[at, steep]
        # The errors are smooth in both: look again, and closer, around the best.
        points, steeps = (
            best * (grid[1] / grid[0]) ** _STEPS
            for best, grid in ((point, points), (steepness, steeps))
        )
    return float(point), float(steepness), float(least)
