"""Intervals that hold where scores are near 0 or 1: by hand, at the edges, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from analysis.comparison.verdicts import compare, verdicts
from analysis.data.score_limits import limits
from analysis.report.sentences import sentences
from analysis.statistics.intervals import normal, sr_intervals
from analysis.statistics.mover import ratios
from tests.analysis.simulated import answers, panel, redrawn

Z = stats.norm.ppf(0.975)
ALL = np.array([True])


def of(share: float, n: int) -> tuple[float, float]:
    stderr = np.sqrt(share * (1 - share) / n)
    low, high = limits(np.array([share]), np.array([stderr]), np.array([float(n)]), ALL)
    return float(low[0]), float(high[0])


def test_limits_are_those_of_agresti_and_coull() -> None:
    centre = (8 + Z**2 / 2) / (40 + Z**2)
    half = Z * np.sqrt(centre * (1 - centre) / (40 + Z**2))
    assert of(0.2, 40) == pytest.approx((centre - half, centre + half))
    wilson = stats.binomtest(8, 40).proportion_ci(method="wilson")
    assert of(0.2, 40)[0] <= wilson.low
    assert of(0.2, 40)[1] >= wilson.high
    assert of(0.0, 20)[1] > 0.15
    plain = limits(np.array([3.0]), np.array([0.1]), np.array([20.0]), np.array([False]))
    assert (plain[0][0], plain[1][0]) == pytest.approx((3 - 0.1 * Z, 3 + 0.1 * Z))


def test_a_ratio_by_hand() -> None:
    """One task, uncorrelated: the end is where p - R o and its reach cancel."""
    p, o = (0.6, *of(0.6, 50)), (0.8, *of(0.8, 50))

    def upper(r: float) -> float:
        return p[0] - r * o[0] + np.hypot(p[2] - p[0], r * (o[0] - o[1]))

    score, low, high = (np.array([[[p[i], o[i]]]]) for i in range(3))
    _, found = ratios(score, low, high, np.eye(2)[None, None], np.array([[1.0, 0.0]]))
    assert found[0] == pytest.approx(optimize.brentq(upper, 0.75, 2), abs=1e-9)


def test_a_denominator_that_may_be_nothing_bounds_nothing() -> None:
    score, low, high = (np.array([[x]]) for x in ([0.5, 0.02], [0.4, -0.05], [0.6, 0.12]))
    ends = ratios(score, low, high, np.eye(2)[None, None], np.array([[1.0, 0.0]]))
    assert np.isposinf(ends[1][0])


def test_two_cells_that_got_nothing_right_are_not_known_to_be_equal() -> None:
    """0 of 20 and 0 of 20: the difference was printed as 0.000 to 0.000."""
    right = np.r_[np.ones(16), np.zeros(4)]
    p = panel({"t": np.array([right, np.zeros(20), np.zeros(20)])})
    (pair,) = compare(p, [1, 2], "sr2").pairs
    assert pair.interval.low < -0.15
    assert pair.interval.high > 0.15
    assert "0.000 to 0.000" not in sentences(p, verdicts(p)[0])[0]


def test_where_nothing_is_near_an_edge_it_is_the_normal_interval() -> None:
    p = panel({"t": answers(np.random.default_rng(1), (0.6, 0.5, 0.45), 4000)}, documents=False)
    (found,) = sr_intervals(p, "sr2", [(1, None)])
    sr = p.sr2()
    usual = normal(float(sr.value[1]), float(sr.stderr[1]))
    assert (found.low, found.high) == pytest.approx((usual.low, usual.high), abs=2e-3)


def test_the_baseline_itself_is_certain_and_shared() -> None:
    p = panel({"t": answers(np.random.default_rng(2), (0.8, 0.5), 200)})
    (itself,) = sr_intervals(p, "sr2", [(0, None)])
    assert (itself.low, itself.high) == pytest.approx((1, 1), abs=1e-9)
    (against,), (alone,) = (sr_intervals(p, "sr2", [pair]) for pair in ((0, 1), (1, None)))
    assert (against.low, against.high) == pytest.approx((1 - alone.high, 1 - alone.low), abs=1e-6)


LEAST = 0.93


@pytest.mark.parametrize("n", [20, 200])
@pytest.mark.parametrize("levels", [(0.5, 0.05, 0.02), (0.99, 0.99, 0.95), (0.8, 0.5, 0.5)])
@pytest.mark.parametrize("by", ["sr1", "sr2"])
def test_intervals_cover_at_the_edges_too(n, levels, by) -> None:
    """At least .93, up to 3 standard errors; `benchmarks/intervals.py` simulates many more."""
    rng, runs = np.random.default_rng(3), 400
    dense, one, two = levels
    model, difference, single = panel({"t": answers(rng, levels, n)}), [], []
    for _ in range(runs):
        p = redrawn(model, {"t": answers(rng, levels, n)})
        both, alone = sr_intervals(p, by, [(1, 2), (1, None)])
        difference.append(both.low <= (one - two) / dense <= both.high)
        single.append(alone.low <= one / dense <= alone.high)
    slack = 3 * np.sqrt(LEAST * (1 - LEAST) / runs)
    assert np.mean(difference) >= LEAST - slack
    assert np.mean(single) >= LEAST - slack
