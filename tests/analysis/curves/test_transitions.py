"""Breaks of perplexity curves: recovered where they are, with intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.curves.transition_table import (
    mpt_transitions,
    outwards,
    said,
    transition_table,
    verdict,
)
from analysis.output.render import to_markdown
from analysis.published.misprints import misprints, size_ratio
from analysis.published.mpt import curves, published_table
from analysis.published.mpt_surface import BITMASK, front, surface
from analysis.published.reference import facts
from analysis.report.figures.mpt_figures import curves_figure, surface_figure
from analysis.statistics.perplexity_transition import (
    CUBIC,
    HINGE,
    POWER,
    POWER_K2,
    QUADRATIC,
    aicc,
    band,
    curve,
    fit,
    fits,
    knee,
    preferred,
    profile,
)
from tests.analysis.simulated import covers

S = np.arange(1, 9) / 10
LONG = np.arange(1, 17) / 20


def truth(s, *, a=6.0, b=0.05, s0=0.52, k1=6.0, k2=0.0):
    past = np.maximum(s - s0, 0)
    return np.log(a) + b * np.log(np.minimum(s, s0)) + k1 * past + k2 * past**2


@pytest.mark.parametrize(("form", "k2"), [(POWER, 0.0), (POWER_K2, 9.0)])
def test_known_parameters_are_recovered_exactly(form, k2) -> None:
    found = fit(curve("c", LONG, np.exp(truth(LONG, k2=k2))), form)
    assert found.point == pytest.approx(0.52, abs=1e-4)
    wanted = [np.log(6.0), 0.05, 6.0, *([k2] if k2 else [])]
    assert found.coefficients == pytest.approx(wanted, rel=2e-3)
    assert found.rss < 1e-8
    assert found.accelerates


@settings(max_examples=30)
@given(st.floats(0.2, 0.65), st.floats(2, 12), st.floats(0, 0.2))
def test_the_break_is_found_wherever_it_is(s0, k1, b) -> None:
    y = np.exp(truth(LONG, s0=s0, k1=k1, b=b))
    found = fit(curve("c", LONG, y))
    assert found.point == pytest.approx(s0, abs=2e-3)
    assert found.low <= s0 <= found.high
    # Another unit of perplexity moves nothing: the fit is of its logarithm.
    assert fit(curve("d", LONG, 7 * y)).point == pytest.approx(found.point, abs=1e-3)


@pytest.mark.parametrize(
    ("form", "k2", "noise", "s"),
    [
        (POWER, 0.0, 0.25, S),
        (POWER, 0.0, 0.25, LONG),
        (POWER_K2, 12.0, 0.1, LONG),
        (HINGE, 0.0, 0.25, S),
    ],
)
def test_intervals_cover_with_eight_points_and_with_sixteen(form, k2, noise, s) -> None:
    rng = np.random.default_rng(21)
    clean = truth(s, s0=0.52, k2=k2) if form != HINGE else 1.8 + 6 * np.maximum(s - 0.52, 0)
    hits = []
    for _ in range(120):
        found = fit(curve("c", s, np.exp(clean + rng.normal(0, noise, len(s)))), form)
        hits.append(found.low <= 0.52 <= found.high)
    # The spacing rule only widens, so coverage may exceed 95 % but must not fall below it.
    assert np.mean(hits) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 120)


def test_a_chi_square_profile_would_not_cover() -> None:
    """What the F quantile is for: the coverage test above can fail."""
    rng = np.random.default_rng(22)
    hits = []
    for _ in range(200):
        data = curve("c", S, np.exp(truth(S) + rng.normal(0, 0.6, len(S))))
        at, rss = profile(data)
        limit = rss.min() * (1 + 3.84 / len(S))
        near = rss[np.abs(at - 0.52).argmin()]
        hits.append(near <= limit)
    assert np.mean(hits) < 0.9
    assert not covers(0.95, hits)


def test_bands_cover_the_curve() -> None:
    rng = np.random.default_rng(23)
    hits = []
    for _ in range(100):
        data = curve("c", S, np.exp(truth(S) + rng.normal(0, 0.2, len(S))))
        low, high = band(data, fit(data), [0.35, 0.75])
        clean = np.exp(truth(np.array([0.35, 0.75])))
        hits += list((low <= clean) & (clean <= high))
    assert np.mean(hits) > 0.92


def test_never_narrower_than_the_spacing_and_open_ends_are_said() -> None:
    sharp = fit(curve("c", S, np.exp(truth(S, s0=0.5))))
    assert sharp.high - sharp.low >= 0.1 - 1e-12
    flat = fit(curve("c", S, np.exp(1.7 + 0.02 * np.random.default_rng(1).normal(size=8))))
    assert flat.open_low or flat.open_high


def test_aicc_by_hand_and_absent_where_it_is_infinite() -> None:
    # n = 8, p = 4: k = 5 with the noise; 8 ln(0.02/8) + 10 + 60/2
    assert aicc(0.02, 8, 4) == pytest.approx(8 * np.log(0.0025) + 40)
    assert np.isnan(aicc(0.02, 7, 5))  # the published form with k2 at 7 points
    assert np.isnan(aicc(0.02, 6, 4))
    seven = curve("c", S[:7], np.exp(truth(S[:7], k2=5)))
    assert np.isnan(fit(seven, POWER_K2).aicc)
    assert preferred(fits(seven)).form != POWER_K2


def test_smooth_curves_are_called_smooth_and_broken_ones_broken() -> None:
    rng = np.random.default_rng(24)
    noise = rng.normal(0, 0.01, len(LONG))
    smooth = fits(curve("c", LONG, np.exp(1.6 + 0.2 * LONG + 3 * LONG**2 + noise)))
    assert preferred(smooth).form in (QUADRATIC, CUBIC)
    assert verdict(smooth).startswith("no: smooth")
    broken = fits(curve("c", LONG, np.exp(truth(LONG, s0=0.6, k1=20) + noise)))
    assert verdict(broken).startswith("a break")


def test_short_and_impossible_curves() -> None:
    assert fit(curve("c", [0, 0.1, 0.2, 0.3, 0.4], [5, 5, 6, 7, 9])) is None  # 4 points, 4 unknown
    assert fits(curve("c", [0.1, 0.2], [5, 6])) == []
    assert curve("c", [0, 0.1, 0.2], [5, np.nan, 6]).s == (0.2,)
    with pytest.raises(ValueError, match="two values at one rate"):
        curve("c", [0.1, 0.1], [5, 6])
    with pytest.raises(ValueError, match="above 0"):
        curve("c", [0.1, 0.2], [5, 0])
    empty = transition_table([], name="none", caption="none")
    assert empty.rows.empty
    assert to_markdown(empty)


def test_knee_is_the_point_below_the_chord() -> None:
    assert knee(curve("c", S, np.exp([1, 1, 1, 1, 1, 1, 3, 5]))) == pytest.approx(0.6)
    assert np.isnan(knee(curve("c", S, np.full(8, 5.0))))


def test_mpts_curves_and_what_they_say() -> None:
    found = curves()
    per_table = {t: sum(source == t for source, _, _ in found) for t in "1 2 3 7 8 9 10".split()}
    assert per_table == {"1": 6, "2": 8, "3": 5, "7": 3, "8": 6, "9": 4, "10": 7}
    rows = mpt_transitions().rows.set_index(["source", "curve"])
    # Structured pruning: AICc prefers a smooth curve to any break, for all six methods.
    assert rows.loc["1", "verdict"].str.startswith("no: smooth").all()
    wanda = rows.loc["10", "Wanda"]
    assert wanda["power_point"] == pytest.approx(0.584, abs=0.002)
    assert wanda["k2_point"] == pytest.approx(0.524, abs=0.002)
    # The transition moves by about ten points with the choice of the form.
    unstructured = rows[rows["kind"] == "unstructured"]["spread"]
    assert 0.08 < unstructured.median() < 0.13
    assert rows.loc["7", "SVD-LLM"]["stated"] == "30 %: no"


def test_misprints_are_found_by_rule() -> None:
    certain = {(m.table, m.cell) for m in misprints() if m.certain}
    assert certain == {
        ("5", "Qwen2.5-72B, 5 bit, size"),
        ("10", "0 %, GGUF Q5_K_M 5 bit"),
        ("10", "0 %, GGUF Q4_K_M 4 bit"),
        ("10", "Wanda 20 %, GGUF Q5_K_M 5 bit"),
        ("10", "Wanda 45 %, FP16"),
        ("10", "Wanda 55 %, FP16"),
    }
    suspect = {(m.table, m.printed) for m in misprints() if not m.certain}
    assert {("3", "7.5999"), ("3", "9.7025"), ("2", "5.755")} <= suspect


def test_every_table_is_laid_out_again_as_printed() -> None:
    for n in range(1, 11):
        table = published_table(str(n))
        printed = facts("mpt", str(n))
        shown = table.rows[[c.key for c in table.columns if c.key not in ("model", "row")]]
        wanted = printed["value_text"].replace("", "–")
        assert sorted(shown.to_numpy().ravel().astype(str)) == sorted(
            [*wanted, *["nan"] * (shown.size - len(wanted))]
        )


def test_the_front_fits_its_budget_and_has_the_least_perplexity() -> None:
    for table in ("9", "10"):
        data = surface(table)
        for mask in (0.0, BITMASK):
            best = front(data, mask=mask, steps=25)
            size = [
                (1 - s) * data.ratio[b] + mask * (s > 0)
                for s, b in zip(best["sparsity"], best["bits"], strict=True)
            ]
            assert (np.array(size) <= best["budget"] * (1 + 1e-6)).all()
            assert (best["ppl"] <= best["second_ppl"]).all()
    assert size_ratio("10")[5.0] == pytest.approx(0.3297, abs=1e-4)  # not the misprinted 38.15 %
    # A measured point is met exactly: 50 % and Q3_K_M of table 10.
    (row,) = front(surface("10"), steps=2).tail(1).to_dict("records")
    assert row["bits"] == 16 or row["ppl"] < 6.2
    assert float(np.exp(surface("10").log_value(3.0, np.array([0.5]))[0])) == pytest.approx(7.4961)


def test_figures_are_drawn() -> None:
    drawn = [curves_figure("7"), surface_figure("9")]
    assert [f.name for f in drawn] == ["mpt_curves_7_LLaMA-2-7B", "mpt_surface_9_LLaMA-2-7B"]
    assert all(f.svg.startswith(b"<?xml") and b"mathdefault" not in f.svg for f in drawn)


@settings(max_examples=40)
@given(st.floats(0.25, 0.59), st.floats(0.3, 8), st.floats(5, 60), st.floats(0.02, 0.3))
def test_exact_points_come_back_with_k2_free(s0, more, k2, b) -> None:
    """Eight exact points have a second s0, from which the curve would first be flatter, or fall."""
    k1 = b / s0 + more  # a break-away: steeper beyond than before
    found = fit(curve("c", S, np.exp(truth(S, s0=s0, k1=k1, k2=k2, b=b))), POWER_K2)
    assert abs(found.point - s0) <= 0.005
    assert found.coefficients[2] >= 0
    assert found.low <= s0 <= found.high


def test_a_published_form_with_its_break_at_58_percent() -> None:
    found = fit(curve("c", S, np.exp(truth(S, a=5.5, b=0.13, s0=0.58, k1=2.2, k2=30.0))), POWER_K2)
    assert found.point == pytest.approx(0.58, abs=0.005)


def test_intervals_are_rounded_outwards() -> None:
    assert outwards(52.6, 66.4, 0) == (52, 67)
    assert outwards(53.0, 66.0, 0) == (53, 66)
    assert outwards(3.44, 3.96, 1) == (3.4, 4.0)
    assert said(0.577, 0.5251, 0.6649, (False, False)) == "57.7 (52 to 67)"
    # The profile is sampled: an end is a sample that the test already refuses, or an open one.
    rng = np.random.default_rng(5)
    for _ in range(20):
        data = curve("c", S, np.exp(truth(S) + rng.normal(0, 0.05, len(S))))
        one = fit(data)
        limit = one.rss * (1 + stats.f.ppf(0.95, 1, one.n - 4) / (one.n - 4))
        grid, rss = profile(data)
        inside = grid[rss <= limit]
        if not one.open_low:
            assert one.low < inside.min()
        if not one.open_high:
            assert one.high > inside.max()
