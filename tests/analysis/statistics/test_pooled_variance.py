"""The variance between seeds: by hand, pooled, and the errors that verdicts make with it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.comparison.verdicts import ALPHA
from analysis.statistics.holm import holm
from analysis.statistics.pooled_variance import (
    SeedVariance,
    detectable,
    p_value,
    pooled,
    standard_error,
)

LAYOUTS = st.tuples(st.integers(2, 6), st.integers(2, 6)).flatmap(
    lambda shape: arrays(float, shape, elements=st.floats(-1, 1, width=32))
)


@given(LAYOUTS)
def test_pooled_is_the_mean_of_all_pairs_own(values) -> None:
    own = [(values[i] - values[j]).var(ddof=1) for i, j in combinations(range(len(values)), 2)]
    found = pooled(values)
    assert found.value == pytest.approx(np.mean(own), abs=1e-12)
    methods, seeds = values.shape
    assert found.df <= (methods - 1) * (seeds - 1) + 1e-9


@given(arrays(float, (2, 4), elements=st.floats(-1, 1, width=32)))
def test_two_methods_have_nothing_to_pool(values) -> None:
    if np.ptp(values[0] - values[1]) > 1e-3:
        assert pooled(values).df == pytest.approx(3)


def test_a_noisy_method_keeps_its_own_variance_and_few_degrees_of_freedom() -> None:
    rng = np.random.default_rng(1)
    quiet, noisy = rng.normal(0, 1e-4, (5, 3)), rng.normal(0, 0.1, (1, 3))
    values = np.vstack([noisy, quiet])
    own = float((values[0] - values[1]).var(ddof=1))
    found = pooled(values)
    assert found.value < own
    assert found.or_more(own) == SeedVariance(value=own, df=found.df)
    assert found.df == pytest.approx(2, rel=0.3)  # of 10 if all were alike


def p_values(values) -> np.ndarray:
    company, raw = pooled(values), []
    for i, j in combinations(range(len(values)), 2):
        each = values[i] - values[j]
        variance = company.or_more(float(each.var(ddof=1)))
        stderr = standard_error(variance, values.shape[1], 0.0)
        raw.append(p_value(float(each.mean()), stderr, variance.df))
    return holm(np.array(raw))


@pytest.mark.parametrize("methods", [2, 4])
@pytest.mark.parametrize("noise", ["equal", "one noisy"])
def test_equal_methods_are_seldom_called_different(methods, noise) -> None:
    """At most 5 % of families; `benchmarks/method_contrasts.py` has 10,000 runs of many more."""
    rng, runs = np.random.default_rng(2), 1500
    spread = np.full((methods, 1), 0.02)
    spread[1:] /= 4 if noise == "one noisy" else 1
    wrong = [p_values(rng.normal(0, 1, (methods, 3)) * spread).min() <= ALPHA for _ in range(runs)]
    assert np.mean(wrong) <= ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / runs)


def test_what_is_called_detectable_is_detected() -> None:
    """With the true standard error, 80 % of the time; 3 standard errors of the simulation."""
    rng, runs, df = np.random.default_rng(3), 4000, 8
    shift = detectable(1.0, df, tests=3)
    t = (rng.normal(size=runs) + shift) / np.sqrt(rng.chisquare(df, runs) / df)
    p = np.array([p_value(x, 1.0, df) for x in t])
    assert (3 * p <= ALPHA).mean() == pytest.approx(0.8, abs=0.04)


def test_certainty() -> None:
    assert p_value(0.0, 0.0, 2) == 1
    assert p_value(0.1, 0.0, 2) == 0
