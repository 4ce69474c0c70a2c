"""Where a perplexity curve breaks away: the published two-piece form, with an interval.

The form is that of the Model Phase Transitions collection (MPT): a power law up to s0, an
exponential beyond. On log perplexity it is linear in everything but s0, so the least
squares are exact: one linear fit for each s0, and the best s0 of them all. Curves without
a break are fitted to the same points; whether there is one at all is for AICc to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from analysis.metrics import Array

LEVEL = 0.95
PER_GAP = 16  # points of the profile between two neighbouring measurements

POWER = "power law, then exponential"
POWER_K2 = "power law, then exponential with k2"
HINGE = "two exponentials"
QUADRATIC = "smooth, quadratic"
CUBIC = "smooth, cubic"
BROKEN = (POWER, POWER_K2, HINGE)
SMOOTH = (QUADRATIC, CUBIC)
_K1 = 2  # its column in the published form
_EXACT = 1e-10  # squared errors this small, of all squares, are those of arithmetic
_BEYOND = {POWER: 1, HINGE: 1, POWER_K2: 2}  # measurements needed beyond the break


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Perplexity over a compression rate.

    Attributes:
        name: what it is of.
        s: (n,) rate, ascending, 0 < s < 1: sparsity, or 1 - bits/16.
        value: (n,) perplexities, above 0.
        step: the printed or measured unit of s, "sparsity" or "rate".
    """

    name: str
    s: tuple[float, ...]
    value: tuple[float, ...]
    step: str = "sparsity"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One form fitted to one curve.

    Attributes:
        form: which one.
        coefficients: of its linear part: log a, b, k1, k2 for the published form.
        parameters: how many were fitted, s0 among them, the noise not.
        rss: squared errors of log perplexity.
        n: points.
        aicc: Akaike's criterion for small samples; nan where it does not exist
            (n < parameters + 3), which is no reason to prefer or to reject the form.
        point: s0, the transition; nan for a smooth form.
        low: lower end of its interval at `LEVEL`.
        high: upper end.
        open_low: the interval has no lower end within the data.
        open_high: it has no upper end.
        accelerates: whether the curve is steeper beyond s0 than before it.
    """

    form: str
    coefficients: tuple[float, ...]
    parameters: int
    rss: float
    n: int
    aicc: float
    point: float = np.nan
    low: float = np.nan
    high: float = np.nan
    open_low: bool = False
    open_high: bool = False
    accelerates: bool = False

    @property
    def error(self) -> float:
        """Root mean square error of log perplexity, per degree of freedom; nan without any."""
        free = self.n - self.parameters
        return float(np.sqrt(self.rss / free)) if free > 0 else np.nan

    def log_value(self, s: ArrayLike) -> Array:
        """Log perplexity that the form gives at s."""
        at = np.asarray(s, dtype=float)
        return np.asarray(_design(self.form, at, self.point) @ np.array(self.coefficients))


def curve(name: str, s: ArrayLike, value: ArrayLike, step: str = "sparsity") -> Curve:
    """A curve from measurements in any order; those at s = 0 and gaps are left out.

    At s = 0 the published form is 0 and has no logarithm: the point says nothing of it.

    Raises:
        ValueError: two values at one s, or a perplexity that is not above 0.
    """
    at, values = np.asarray(s, dtype=float), np.asarray(value, dtype=float)
    kept = np.flatnonzero((at > 0) & np.isfinite(values))
    kept = kept[np.argsort(at[kept], kind="stable")]
    if (np.diff(at[kept]) <= 0).any():
        raise ValueError(f"{name}: two values at one rate; a curve has one at each")
    if (values[kept] <= 0).any():
        raise ValueError(f"{name}: a perplexity is above 0")
    return Curve(name=name, s=tuple(at[kept]), value=tuple(values[kept]), step=step)


@lru_cache(maxsize=1024)
def fit(data: Curve, form: str = POWER) -> Fit | None:
    """The least-squares fit of one form to log perplexity.

    Published form: log P = log a + b log s up to s0, then + k1 (s - s0) + k2 (s - s0)^2, with
    k1 >= 0: with k2 free the same points have a second, earlier s0 from which the curve would
    first fall (to second order k1 changes its sign with it), and that is no break-away. At least
    two points lie at or below s0, and one (with k2 two) beyond.

    Returns:
        None where the curve has too few points to leave one degree of freedom.
    """
    s, y = np.array(data.s), np.log(np.array(data.value))
    p = _design(form, s[:2], 0.5).shape[1] + (form in BROKEN)
    if len(s) <= p:
        return None
    if form in SMOOTH:
        beta, rss = _least(form, s, np.nan, y)
        return Fit(
            form=form,
            coefficients=tuple(beta),
            parameters=p,
            rss=rss,
            n=len(s),
            aicc=aicc(rss, len(s), p),
        )
    point = _best(form, s, y)
    beta, rss = _least(form, s, point, y)
    low, high, open_low, open_high = _interval(form, s, y, point, rss, p)
    before = beta[1] / point if form != HINGE else beta[1]
    beyond = beta[2] if form != HINGE else beta[1] + beta[2]
    steeper = beyond + (0 if len(beta) < 4 else beta[3] * (s[-1] - point)) > before
    return Fit(
        form=form,
        coefficients=tuple(beta),
        parameters=p,
        rss=rss,
        n=len(s),
        aicc=aicc(rss, len(s), p),
        point=point,
        low=low,
        high=high,
        open_low=open_low,
        open_high=open_high,
        accelerates=bool(steeper),
    )


def profile(data: Curve, form: str = POWER) -> tuple[Array, Array]:
    """The squared errors over s0: (m,) values of s0 and (m,) the best each allows."""
    s, y = np.array(data.s), np.log(np.array(data.value))
    grid = _grid(form, s)
    return grid, np.array([_least(form, s, at, y)[1] for at in grid])


def band(data: Curve, one: Fit, s: ArrayLike) -> tuple[Array, Array]:
    """Pointwise 95 % band of perplexity: every fit whose s0 lies in the interval.

    For each such s0 the band of its linear fit (t with n - p degrees of freedom); the band
    reaches as far as any of them, so it counts the uncertainty of s0 too.
    """
    at, x, y = np.asarray(s, dtype=float), np.array(data.s), np.log(np.array(data.value))
    grid = _grid(one.form, x) if one.form in BROKEN else np.array([np.nan])
    inside = grid[(grid >= one.low) & (grid <= one.high)] if one.form in BROKEN else grid
    half = stats.t.ppf((1 + LEVEL) / 2, one.n - one.parameters) * one.error
    low, high = np.full(len(at), np.inf), np.full(len(at), -np.inf)
    for point in (*inside, one.point):
        design, here = _design(one.form, x, point), _design(one.form, at, point)
        beta, _ = _least(one.form, x, point, y)
        spread = half * np.sqrt(np.einsum("ij,jk,ik->i", here, _inverse(design), here))
        low, high = np.minimum(low, here @ beta - spread), np.maximum(high, here @ beta + spread)
    return np.exp(low), np.exp(high)


def aicc(rss: float, n: int, parameters: int) -> float:
    """AICc of a least-squares fit, the noise counted as a parameter (Hurvich and Tsai 1989).

    nan where n - k - 1 is not above 0: it is infinite there and says nothing. A break
    counts as one parameter, which favours broken forms a little.
    """
    k = parameters + 1
    if n - k - 1 <= 0 or rss <= 0:
        return float("nan")
    return float(n * np.log(rss / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1))


def fits(data: Curve, forms: Sequence[str] = (*BROKEN, *SMOOTH)) -> list[Fit]:
    """Every form that the curve has points for, in the given order."""
    return [one for form in forms if (one := fit(data, form)) is not None]


def preferred(found: Sequence[Fit]) -> Fit | None:
    """The form with the lowest AICc among those that have one."""
    known = [one for one in found if np.isfinite(one.aicc)]
    return min(known, key=lambda one: one.aicc) if known else None


def knee(data: Curve) -> float:
    """The knee of log perplexity: the point farthest below the chord of the whole curve.

    The discrete core of kneedle (Satopaa et al. 2011) without smoothing; it always names a
    measured point, whether there is a break or not.
    """
    s, y = np.array(data.s), np.log(np.array(data.value))
    if len(s) < 3 or y[-1] == y[0]:
        return float("nan")
    below = (s - s[0]) / (s[-1] - s[0]) - (y - y[0]) / (y[-1] - y[0])
    return float(s[int(below.argmax())])


def _design(form: str, s: Array, point: float) -> Array:
    """(n, p) columns of the linear part."""
    one, past = np.ones(len(s)), np.maximum(s - point, 0)
    if form == QUADRATIC:
        columns = [one, s, s**2]
    elif form == CUBIC:
        columns = [one, s, s**2, s**3]
    elif form == HINGE:
        columns = [one, s, past]
    else:
        columns = [one, np.log(np.minimum(s, point)), past]
        columns += [past**2] if form == POWER_K2 else []
    return np.column_stack(columns)


def _least(form: str, s: Array, point: float, y: Array) -> tuple[Array, float]:
    """The linear part's coefficients and squared errors for one s0; k1 is never below 0."""
    design = _design(form, s, point)
    beta, rss = _solve(design, y)
    if form not in (POWER, POWER_K2) or beta[_K1] >= 0:
        return beta, rss
    without, rss = _solve(np.delete(design, _K1, axis=1), y)
    return np.insert(without, _K1, 0.0), rss


def _solve(design: Array, y: Array) -> tuple[Array, float]:
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    return np.asarray(beta, dtype=np.float64), float(((y - design @ beta) ** 2).sum())


def _inverse(design: Array) -> Array:
    return np.asarray(np.linalg.pinv(design.T @ design))


def _range(form: str, s: Array) -> tuple[float, float]:
    """Where s0 may lie: two points at or below it, as many beyond as the form needs."""
    return float(s[1]), float(s[len(s) - 1 - _BEYOND[form]])


def _grid(form: str, s: Array) -> Array:
    first, last = _range(form, s)
    knots = s[(s >= first) & (s <= last)]
    parts = [np.linspace(a, b, PER_GAP, endpoint=False) for a, b in pairwise(knots)]
    return np.concatenate([*parts, knots[-1:]])


def _best(form: str, s: Array, y: Array) -> float:
    """s0 of least squares: the profile has several dips, and each is followed to its bottom.

    Of dips that are equally deep, as exact points have two, it is the one at which the curve breaks
    away most sharply.
    """
    grid = _grid(form, s)
    rss = np.array([_least(form, s, at, y)[1] for at in grid])
    padded = np.r_[np.inf, rss, np.inf]
    dips = np.flatnonzero((rss <= padded[:-2]) & (rss <= padded[2:])).tolist()
    found = [(float(rss[dip]), float(grid[dip])) for dip in dips]
    for dip in dips:
        near = grid[max(dip - 1, 0)], grid[min(dip + 1, len(grid) - 1)]
        if near[0] < near[1]:
            one = optimize.minimize_scalar(
                lambda at: _least(form, s, at, y)[1],
                bounds=near,
                method="bounded",
                options={"xatol": 1e-8},
            )
            found.append((float(one.fun), float(one.x)))
    deepest = min(found)[0] + _EXACT * float(((y - y.mean()) ** 2).sum())
    return max(
        (at for error, at in found if error <= deepest), key=lambda at: _kink(form, s, at, y)
    )


def _kink(form: str, s: Array, point: float, y: Array) -> float:
    """How much steeper log perplexity is just beyond s0 than just before it."""
    beta, _ = _least(form, s, point, y)
    return float(beta[_K1] - (beta[1] / point if form != HINGE else 0.0))


def _interval(
    form: str, s: Array, y: Array, point: float, rss: float, parameters: int
) -> tuple[float, float, bool, bool]:
    """All s0 that an F test with 1 and n - p degrees of freedom does not refuse.

    A chi-square profile or a bootstrap of residuals covers far less than it says with so
    few points. The profile is sampled, and an end is the first sample that the test refuses: the
    interval is rounded outwards. Never narrower than the spacing of the measurements around s0:
    between two of them the data cannot tell one place from another.
    """
    grid = _grid(form, s)
    free = len(s) - parameters
    limit = rss * (1 + stats.f.ppf(LEVEL, 1, free) / free)
    kept = np.flatnonzero([_least(form, s, at, y)[1] <= limit for at in grid])
    ends = [point, *grid[kept]]
    low, high = min(ends), max(ends)
    at = int(np.clip(np.searchsorted(s, point), 1, len(s) - 1))
    half = (s[at] - s[at - 1]) / 2
    first, last = _range(form, s)
    open_low, open_high = bool(low <= first), bool(high >= last)
    low = s[0] if open_low else min(grid[grid < low].max(initial=first), point - half)
    high = s[-1] if open_high else max(grid[grid > high].min(initial=last), point + half)
    return float(low), float(high), open_low, open_high
