"""Intervals of ratios of sums of scores that hold at the edges: MOVER on Agresti-Coull limits.

A bootstrap of 0 of 20 documents draws 0 again and again, and a normal approximation from a standard
error of 0 has no width either. Limits of the single scores are right there, and the *method of
variance estimates recovery* carries them over to sums and differences (Zou and Donner 2008,
*Statistics in Medicine* 27, 1693; with correlations, as here, Newcombe 1998, ibid. 17, 2635, method
10, and Zou, Huang and Zhang 2009, *Computational Statistics & Data Analysis* 53, 1080):

    L = sum c_i p_i - sqrt(sum_ij s_i s_j r_ij d_i d_j),
    d_i = |c_i (p_i - l_i)| where c_i > 0 and |c_i (p_i - u_i)| where c_i < 0, s_i the sign of c_i,

and U likewise with the limits exchanged. A ratio R is in its interval if that of the linear
combination "numerator - R denominator" has 0 in it, which is Fieller's way (1954) to treat a
denominator that is uncertain too. `benchmarks/intervals.py` simulates the coverage.
"""

from __future__ import annotations

import numpy as np

from analysis.metrics import Array

_NEAR = 1e-9  # of a root to the point where its sign changes


def ratios(
    score: Array, low: Array, high: Array, correlation: Array, top: Array
) -> tuple[Array, Array]:
    """Intervals of N ratios of sums of scores over tasks; the last cell is the denominator.

    In terms of R the end is where (numerator - R denominator)^2 equals its squared reach, which is
    a quadratic for either sign of the denominator's weight: the nearest root that has the sign it
    was found for is taken.

    Args:
        score: (N, T, k) scores of k cells on T independent tasks.
        low: (N, T, k) their lower limits.
        high: (N, T, k) their upper limits.
        correlation: (N, T, k, k) of the scores of a task.
        top: (N, k) how the cells enter the numerator, the same in every task; the denominator is
            the sum of the last one's scores.

    Returns:
        (N,) lower and upper ends; infinite where the denominator is not clear of 0, nan where
        something is unknown.
    """
    numerator = np.einsum("nk,ntk->n", top, score)
    denominator = score[:, :, -1].sum(axis=1)
    usable = np.isfinite(low).all((1, 2)) & np.isfinite(high).all((1, 2)) & (denominator > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        best = numerator / denominator
        ends = [_end(score, low, high, correlation, top, best, up) for up in (False, True)]
    return np.where(usable, ends[0], np.nan), np.where(usable, ends[1], np.nan)


def _end(
    score: Array, low: Array, high: Array, correlation: Array, top: Array, best: Array, up: bool
) -> Array:
    """(N,) one end: the root nearest to the ratio, on its side; infinite where there is none."""
    side = 1.0 if up else -1.0
    rise, fall = (high - score, score - low) if up else (score - low, high - score)
    a, b = np.einsum("nk,ntk->n", top, score), score[:, :, -1].sum(axis=1)
    nearest = np.full(len(best), np.inf)
    for sign in (1.0, -1.0):  # of the denominator's weight, top - R
        reach = np.where(top[:, None, :] > 0, rise, fall)
        reach[:, :, -1] = (rise if sign > 0 else fall)[:, :, -1]
        still = top[:, None, :] * reach
        moving = np.zeros_like(still)
        moving[:, :, -1] = reach[:, :, -1]
        uu, uv, vv = (
            np.einsum("nti,ntij,ntj->n", x, correlation, y)
            for x, y in ((still, still), (still, moving), (moving, moving))
        )
        for root in _roots(b**2 - vv, 2 * (uv - a * b), a**2 - uu):
            weight = sign * (top[:, -1] - root)
            valid = np.isfinite(root) & (weight >= -_NEAR) & (side * (root - best) >= -_NEAR)
            away = np.where(valid, np.maximum(side * (root - best), 0.0), np.inf)
            nearest = np.minimum(nearest, away)
    return best + side * nearest


def _roots(square: Array, linear: Array, constant: Array) -> tuple[Array, Array]:
    """Both roots of quadratics, without the textbook's cancellation; nan where there are none."""
    inside = linear**2 - 4 * square * constant
    inside = np.where(np.abs(inside) <= 1e-12 * linear**2, 0.0, inside)  # a double root
    root = np.sqrt(np.where(inside < 0, np.nan, inside))
    q = -0.5 * (linear + np.where(linear >= 0, root, -root))
    return q / square, np.where(q == 0, 0.0, constant / q)
