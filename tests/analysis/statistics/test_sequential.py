"""Tests that may be looked at again and again: boundaries and p values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.statistics.sequential import mixture_boundary, mixture_p
from analysis.statistics.sequential import mixture_rho as rho_of
from analysis.statistics.spending import boundaries, spent, table

EIGHT = (0.0183, 0.0367, 0.0733, 0.147, 0.293, 0.587, 0.908, 1.0)
"""Information at 128, 256 ... documents a task of the paper's three, then at all."""


@given(st.floats(1e-7, 1e-1), st.floats(1e-4, 0.3), st.floats(0.01, 0.3), st.floats(0.01, 8))
def test_the_boundary_is_where_the_p_value_is_the_level(
    variance: float, alpha: float, spread: float, z: float
) -> None:
    rho = rho_of(spread)
    edge = mixture_boundary(variance, alpha, rho)
    assert mixture_p(edge, variance, rho) == pytest.approx(alpha)
    assert bool(mixture_p(z, variance, rho) <= alpha) == bool(z >= edge) or z == pytest.approx(edge)


def test_the_mixture_is_tightest_where_a_spread_is_about_to_be_told() -> None:
    alpha, spread = 0.05 / 6, 0.05
    log = np.log(1 / alpha)
    best = (2 * log + np.log(1 + 2 * log)) / spread**2  # Howard et al. 2021, eq. 23
    widths = [
        float(mixture_boundary(1 / best, alpha, rho_of(spread * factor)))
        for factor in (0.25, 0.5, 1.0, 2.0, 4.0)
    ]
    assert min(widths) == widths[2]


def test_the_mixture_holds_its_level_over_four_thousand_looks() -> None:
    rng = np.random.default_rng(3)
    crossed, runs = 0, 400
    for _ in range(runs):
        count = np.arange(1, 4001)
        mean = np.cumsum(rng.normal(size=4000)) / count
        z = np.abs(mean) * np.sqrt(count)
        crossed += bool((z >= mixture_boundary(1 / count, 0.1, rho=50.0)).any())
    assert crossed / runs <= 0.1 + 2 * np.sqrt(0.09 / runs)
    assert crossed > 0  # it is a boundary that can be crossed


def test_spending_at_one_look_is_the_usual_test() -> None:
    assert boundaries([1.0], 0.05) == pytest.approx([1.959964], abs=1e-6)


def test_spending_is_pococks_for_equal_steps() -> None:
    # Jennison and Turnbull (2000), Table 2.1: Pocock's constant for K = 5, two-sided 5 %, is 2.413;
    # the function of his type comes near it at every look.
    assert boundaries([0.2, 0.4, 0.6, 0.8, 1.0], 0.05) == pytest.approx([2.413] * 5, abs=0.03)


def test_eight_doublings_have_the_boundaries_that_are_known_for_them() -> None:
    known = [3.18, 3.14, 2.95, 2.75, 2.55, 2.37, 2.34, 2.40]
    assert boundaries(EIGHT, 0.05) == pytest.approx(known, abs=0.03)


def test_spending_holds_its_level() -> None:
    rng = np.random.default_rng(5)
    steps = np.sqrt(np.diff((0.0, *EIGHT)))
    paths = np.cumsum(rng.normal(size=(40_000, 8)) * steps, axis=1) / np.sqrt(EIGHT)
    crossed = np.abs(paths) >= boundaries(EIGHT, 0.05)
    assert crossed.any(axis=1).mean() == pytest.approx(0.05, abs=0.0033)
    by_look = [crossed[:, : k + 1].any(axis=1).mean() for k in range(8)]
    assert by_look == pytest.approx(spent(EIGHT, 0.05), abs=0.0035)


@settings(max_examples=25)
@given(st.integers(0, 7), st.floats(1e-9, 0.5))
def test_the_p_value_of_a_boundary_is_its_level(look: int, alpha: float) -> None:
    known = table(EIGHT)
    assert known.boundary(look, alpha) == pytest.approx(boundaries(EIGHT, alpha)[look], abs=3e-3)
    assert known.p(known.boundary(look, alpha), look) == pytest.approx(alpha, rel=1e-6)


def test_information_that_does_not_grow_is_refused() -> None:
    for wrong in ([], [0.5, 0.5], [0.0, 1.0], [0.5, 1.2]):
        with pytest.raises(ValueError, match="information increases"):
            boundaries(wrong, 0.05)
