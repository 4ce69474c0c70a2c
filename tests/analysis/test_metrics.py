"""The formulas against hand-worked values, algebra, and simulated measurements."""

from __future__ import annotations

import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import metrics as m

LLAMA = {  # MMLU-Pro, BBH, MATH: tables II, III and VII of the paper
    "dense": ([35.4, 62.3, 17.7], [0.4, 0.5, 0.5]),
    "25%": ([33.3, 60.2, 14.9], [0.4, 0.5, 0.5]),
    "4bit": ([32.0, 53.3, 0.2], [0.4, 0.5, 0.1]),
    "25% + 4bit": ([30.5, 53.4, 10.5], [0.4, 0.5, 0.5]),
}
# Table I: bits by sparsity 0, 25, 33.333 and 50 %.
TABLE_I = {
    16: (Fraction(0), Fraction(1, 4), Fraction(1, 3), Fraction(1, 2)),
    8: (Fraction(1, 2), Fraction(5, 8), Fraction(2, 3), Fraction(3, 4)),
    4: (Fraction(3, 4), Fraction(13, 16), Fraction(5, 6), Fraction(7, 8)),
    3: (Fraction(13, 16), Fraction(55, 64), Fraction(7, 8), Fraction(29, 32)),
    2: (Fraction(7, 8), Fraction(29, 32), Fraction(11, 12), Fraction(15, 16)),
}
positive = st.floats(0.01, 100)
scores = st.lists(st.tuples(positive, positive), min_size=1, max_size=8)


@pytest.mark.parametrize("bits", TABLE_I)
def test_tcr_gives_table_i(bits: int) -> None:
    assert tuple(m.tcr(p, bits) for p in (0, 0.25, 1 / 3, 0.5)) == TABLE_I[bits]


def test_equal_rates_are_equal_as_numbers_and_not_nearly() -> None:
    assert m.tcr(0.25, 4) == m.tcr(0, 3)
    assert m.tcr(1 / 3, 3) == m.tcr(0, 2) == m.tcr(0.5, 4)
    assert m.tcr(33 / 100, 3) != m.tcr(0, 2)


@pytest.mark.parametrize(("sparsity", "bits"), [(25, 4), (-0.1, 4), (1, 4), (0.5, 0), (0.5, 32)])
def test_tcr_refuses_what_is_no_rate(sparsity: float, bits: float) -> None:
    with pytest.raises(ValueError, match=r"sparsity|bits"):
        m.tcr(sparsity, bits)


@given(st.floats(0, 0.99), st.sampled_from([2, 3, 4, 8, 16]))
def test_tcr_is_bounded_and_grows_with_sparsity(p: float, q: int) -> None:
    assert 0 <= m.tcr(p, q) < 1
    assert m.tcr(p, q) <= m.tcr(min(p + 0.005, 0.995), q)
    assert m.achieved_tcr(p, q) == pytest.approx(float(m.tcr(p, q)), abs=1e-4)


def test_refilled_zeros_lower_the_achieved_rate() -> None:
    assert m.achieved_tcr(0.0, 4) == 0.75 < m.tcr(0.25, 4)


def test_the_weights_of_the_paper() -> None:
    assert m.weight_q([16, 8, 4, 3, 2]) == pytest.approx([0, 0.25, 0.5, 0.60376, 0.75], abs=1e-5)
    assert m.weight_p([0, 0.25, 1 / 3]) == pytest.approx([0, 0.5, 0.57735], abs=1e-5)
    assert m.weight_j([0.25, 0, 0.25], [4, 4, 16]) == pytest.approx([0.25, 0, 0])


def test_llama_at_25_percent_and_4_bit() -> None:
    sr = m.sr2(*LLAMA["25% + 4bit"], *LLAMA["dense"])
    assert sr.value == pytest.approx(0.818024, abs=5e-7)
    assert m.scaled(m.weight_j(0.25, 4), sr).value == pytest.approx(0.204506, abs=5e-7)
    # var = .66/115.4^2 + 94.4^2 .66/115.4^4, by hand
    assert sr.stderr == pytest.approx(0.0090953, abs=1e-6)


def test_sr1_is_the_mean_of_the_retentions() -> None:
    each = m.retention(*LLAMA["25% + 4bit"], *LLAMA["dense"])
    assert each.value == pytest.approx([30.5 / 35.4, 53.4 / 62.3, 10.5 / 17.7])
    assert m.sr1(each).value == pytest.approx(0.770648, abs=1e-6)
    assert m.sr1(each).stderr == pytest.approx(np.sqrt((each.stderr**2).sum()) / 3)


def sums(names) -> tuple[np.ndarray, np.ndarray]:
    """Sums of scores over tasks of some cells, and their covariance without shared documents."""
    pairs = [LLAMA[name] for name in names]
    totals = np.array([np.sum(values) for values, _ in pairs])
    return totals, np.diag([np.sum(np.square(errors)) for _, errors in pairs])


def test_the_estimate_counts_the_dense_model_twice() -> None:
    one = m.srcr_estimate(m.weight_j(0.25, 4), *sums(("25%", "4bit", "dense")))
    assert one.value == pytest.approx(0.25 * 108.4 * 85.5 / 115.4**2)
    relative = 0.66 / 108.4**2 + 0.42 / 85.5**2 + 4 * 0.66 / 115.4**2
    assert one.stderr / one.value == pytest.approx(np.sqrt(relative))


def test_the_baseline_keeps_exactly_all_of_itself() -> None:
    dense = LLAMA["dense"]
    for one in (m.retention(*dense, *dense, same=True), m.sr2(*dense, *dense, same=True)):
        assert (one.value == 1).all()
        assert (one.stderr == 0).all()
    # An equal score of another cell is a coincidence and keeps its error.
    assert m.sr2(*dense, *dense).stderr > 0


def test_lower_is_better_turns_the_ratio_round() -> None:
    one = m.retention(40.0, 2.0, 20.0, 1.0, higher_is_better=False)
    assert one.value == 0.5
    assert one.stderr == pytest.approx(0.5 * np.sqrt((1 / 20) ** 2 + (2 / 40) ** 2))


def test_a_score_of_zero_has_an_error_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = m.retention(0.0, 0.01, 0.5, 0.02)
        assert (one.value, one.stderr) == (0, pytest.approx(0.02))
        nothing = m.retention([0.3, 0.0], 0.1, 0.0, 0.0)
        assert np.isnan(nothing.value).all()
        assert np.isnan(nothing.stderr).all()
        same = m.retention(0.0, 0.0, 0.0, 0.0, same=True)
        assert np.isnan(same.value)


def test_wilson_is_honest_at_the_ends_and_binomial_in_the_middle() -> None:
    assert m.wilson_stderr([0, 1], 300) == pytest.approx([0.0045468] * 2, rel=1e-4)
    assert m.wilson_stderr(0.5, 10_000) == pytest.approx(0.005, rel=1e-3)


def test_no_task_is_no_retention() -> None:
    assert np.isnan(m.sr2(np.zeros((2, 0)), np.zeros((2, 0)), np.zeros(0), np.zeros(0)).value).all()
    nothing = m.Estimate(value=np.zeros((2, 0)), stderr=np.zeros((2, 0)))
    assert np.isnan(m.sr1(nothing).value).all()


def test_one_missing_task_is_no_mean_over_the_others() -> None:
    each = m.retention([0.5, np.nan], 0.1, [0.6, 0.7], 0.1)
    assert np.isnan(m.sr1(each).value)
    assert np.isnan(m.sr2([0.5, np.nan], [0.1, 0.1], [0.6, 0.7], [0.1, 0.1]).value)


@given(scores, st.floats(0.01, 100))
def test_retention_does_not_depend_on_the_unit(pairs: list[tuple[float, float]], by: float) -> None:
    c, o = np.array(pairs).T
    se = 0.1 * np.ones_like(c)
    for f in (m.sr2, lambda *a: m.sr1(m.retention(*a))):
        one, other = f(c, se, o, se), f(by * c, by * se, by * o, by * se)
        assert other.value == pytest.approx(one.value)
        assert other.stderr == pytest.approx(one.stderr)


@given(scores)
def test_sr2_lies_between_the_retentions(pairs: list[tuple[float, float]]) -> None:
    c, o = np.array(pairs).T
    each = m.retention(c, 0.0, o, 0.0).value
    for value in (m.sr2(c, 0 * c, o, 0 * o).value, each.mean()):
        assert each.min() - 1e-9 <= value <= each.max() + 1e-9


@given(scores, st.integers(0, 7))
def test_a_better_score_never_lowers_sr(pairs: list[tuple[float, float]], which: int) -> None:
    c, o = np.array(pairs).T
    better = c.copy()
    better[which % len(c)] += 1
    assert m.sr2(better, 0 * c, o, 0 * o).value > m.sr2(c, 0 * c, o, 0 * o).value


@settings(deadline=None)
@given(st.floats(0, 0.99), st.floats(2, 16))
def test_srcr_is_bounded_for_a_full_retention(p: float, q: float) -> None:
    assert 0 <= m.weight_j(p, q) <= min(m.weight_p(p), m.weight_q(q)) <= 1


def _spread(simulated: np.ndarray) -> float:
    return float(simulated.std(ddof=1))


def test_standard_errors_match_repeated_measurement() -> None:
    rng = np.random.default_rng(7)
    (c, sc), (o, so) = (np.array(x) for x in LLAMA["25% + 4bit"]), map(np.array, LLAMA["dense"])
    draws_c = rng.normal(c, sc, (40_000, 3))
    draws_o = rng.normal(o, so, (40_000, 3))
    stated = m.retention(c, sc, o, so)
    again = m.retention(draws_c, sc, draws_o, so)
    assert again.value.std(axis=0, ddof=1) == pytest.approx(stated.stderr, rel=0.03)
    assert _spread(m.sr1(again).value) == pytest.approx(float(m.sr1(stated).stderr), rel=0.03)
    ratio = m.sr2(draws_c, sc, draws_o, so).value
    assert _spread(ratio) == pytest.approx(float(m.sr2(c, sc, o, so).stderr), rel=0.03)


def test_the_error_of_the_estimate_matches_repeated_measurement() -> None:
    rng = np.random.default_rng(8)
    weight = m.weight_j(0.25, 4)
    totals, covariance = sums(("25%", "4bit", "dense"))
    # The two cells share documents with the dense one: that takes much of the error away.
    covariance[2, :2] = covariance[:2, 2] = 0.4
    stated = m.srcr_estimate(weight, totals, covariance)
    p, q, o = rng.multivariate_normal(totals, covariance, 40_000).T
    assert _spread(weight * p * q / o**2) == pytest.approx(float(stated.stderr), rel=0.03)
    alone = m.srcr_estimate(weight, totals, np.diag(np.diag(covariance)))
    assert stated.stderr < 0.9 * alone.stderr
