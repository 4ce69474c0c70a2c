"""The variance between calibration seeds, from few: pooled over methods, never below a pair's.

k methods' seeds are a two-way layout, method by seed, where the seeds (the calibration samples) are
the same for all. Three seeds give a pair's own variance two degrees of freedom, and with six
methods (15 pairs, Holm) nothing short of t = 17 would be told. Pooling the residuals of all methods
gives more, but lies where methods are not equally noisy. So the larger of the pair's own variance
and the pooled one is taken, with degrees of freedom that fall where few methods make the noise.
`benchmarks/method_contrasts.py` simulates the family-wise error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.metrics import Array

ALPHA, POWER = 0.05, 0.8


@dataclass(frozen=True, kw_only=True)
class SeedVariance:
    """Variance of the difference of two methods under one seed.

    Attributes:
        value: in squared units of the values.
        df: degrees of freedom behind it.
    """

    value: float
    df: float

    def or_more(self, own: float) -> SeedVariance:
        """At least a pair's own variance: a noisy method is no better for quiet company."""
        return SeedVariance(value=max(self.value, own), df=self.df)


def pooled(values: Array) -> SeedVariance:
    """The residual variance of methods by seeds, as that of one seed's difference of two methods.

    With r_ms = y_ms - y_m. - y_.s + y.. and s_m^2 = sum over s of r_ms^2 / (k - 1), the variance is
    2 sum s_m^2 / (M - 1), the mean over all pairs of their own. Its degrees of freedom are
    Satterthwaite's (1946, *Biometrics Bulletin* 2, 110), (sum s_m^2)^2 / sum s_m^4 (k - 1), times
    (M - 1) / M for the seeds' means: k - 1 for two methods, more only as far as several make the
    noise.

    Args:
        values: (M, k) of M >= 2 methods under the same k >= 2 seeds.
    """
    methods, seeds = values.shape
    centred = values - values.mean(axis=1, keepdims=True)
    residual = centred - centred.mean(axis=0, keepdims=True)
    each = (residual**2).sum(axis=1) / (seeds - 1)
    total = float(each.sum())
    df = total**2 / float((each**2).sum()) * (methods - 1) / methods if total else 1.0
    return SeedVariance(value=2 * total / (methods - 1), df=df * (seeds - 1))


def p_value(difference: float, stderr: float, df: float) -> float:
    """Two-sided, by t; certain where nothing varies and yet there is a difference."""
    if stderr == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * stats.t.sf(abs(difference) / stderr, df))


def detectable(stderr: float, df: float, tests: int = 1) -> float:
    """The difference that such an experiment tells with `POWER`, of `tests` at the family's 5 %.

    (t_(1 - alpha / 2 tests) + t_power) stderr, as for the first step of Holm's correction.
    """
    return float((stats.t.isf(ALPHA / 2 / max(tests, 1), df) + stats.t.ppf(POWER, df)) * stderr)


def standard_error(variance: SeedVariance, seeds: int, documents: float) -> float:
    """Of a mean difference over seeds.

    Args:
        variance: between seeds.
        seeds: how many.
        documents: covariance over documents of two different seeds, which no seed averages away.
            It comes with no degrees of freedom of its own: those of the seeds stay, which is
            cautious (Satterthwaite's for the sum are too many where seeds happen to agree).
    """
    return float(np.sqrt(variance.value / seeds + documents))
