"""Bounded retention curves, and the curves that a sweep has."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.curves.measured_curves import (
    chance_floor,
    perplexity_curves,
    perplexity_table,
    series,
    tolerance_table,
    tolerances,
)
from analysis.data.panel import panels
from analysis.data.results import Results
from analysis.output.render import to_markdown
from analysis.report.figures.curve_figures import curve_figures
from analysis.statistics.retention_curve import band, fit, retained

S = np.arange(1, 9) / 10


@given(st.floats(0.05, 0.95), st.floats(0.3, 20), st.floats(0, 0.6))
def test_the_curve_is_bounded_monotone_and_says_what_its_parameters_mean(point, k, floor) -> None:
    s = np.linspace(0, 1, 50)
    curve = retained(s, point, k, floor=floor)
    assert curve[0] == 1
    assert ((floor - 1e-12 <= curve) & (curve <= 1)).all()
    assert (np.diff(curve) <= 1e-12).all()
    assert retained([point], point, k, floor=floor)[0] == pytest.approx(0.95)


def test_a_known_curve_is_recovered() -> None:
    found = fit(S, retained(S, 0.45, 4.0))
    assert (found.point, found.steepness) == pytest.approx((0.45, 4.0), rel=1e-3)
    assert found.low <= 0.45 <= found.high
    floored = fit(S, retained(S, 0.45, 4.0, floor=0.3), floor=0.3)
    assert floored.point == pytest.approx(0.45, rel=1e-3)
    assert not floored.open_low


@pytest.mark.parametrize("noise", [0.005, 0.03])
def test_the_interval_covers(noise) -> None:
    rng, hits = np.random.default_rng(31), []
    for _ in range(150):
        noisy = retained(S, 0.45, 4.0) + rng.normal(0, noise, len(S))
        found = fit(S, noisy)
        hits.append(found.low <= 0.45 <= found.high)
    assert np.mean(hits) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 150)


def test_what_the_data_do_not_close_is_open() -> None:
    flat = fit(S[:5], [1.0, 0.999, 1.001, 0.999, 1.0])
    assert flat.open_high
    assert fit(S[:3], [1, 0.9, 0.5]) is None
    with pytest.raises(ValueError, match="floor < kept"):
        fit(S, S, floor=0.96)


def test_a_precise_point_counts_for_more() -> None:
    y = retained(S, 0.45, 4.0)
    y[1] -= 0.1
    loose = fit(S, y)
    sure = fit(S, y, np.where(np.arange(8) == 1, 0.2, 0.01))
    assert abs(sure.point - 0.45) < abs(loose.point - 0.45)


def sweep() -> Results:
    """Pruning at eight sparsities, quantization at five bit-widths, one task and one text."""
    cells, scores = [], []
    grid = [(0.0, 16)] + [(s, 16) for s in S] + [(0.0, b) for b in (8, 6, 4, 3, 2)]
    for sparsity, bits in grid:
        key = f"{sparsity:.1f}/{bits}"
        cells.append(
            {
                "cell": key,
                "label": key,
                "model": "m",
                "prune_method": "wanda" if sparsity else "",
                "sparsity": sparsity,
                "pattern": "unstructured" if sparsity else "",
                "quant_method": "gptq" if bits < 16 else "",
                "bits": bits,
                "mask": "none",
                "calibration_seed": 0 if key != "0.0/16" else None,
                "status": "done",
                "reason": "",
            }
        )
        kept = (
            retained([max(sparsity, 1e-9)], 0.45, 4)[0]
            * retained([1 - bits / 16 + 1e-9], 0.8, 12)[0]
        )
        ppl = np.exp(2.5 + 8 * max(sparsity - 0.55, 0) + 3 * max(1 - bits / 16 - 0.75, 0))
        for task, value, higher in (("facts", 0.8 * kept, True), ("text", ppl, False)):
            scores.append(
                {
                    "cell": key,
                    "task": task,
                    "metric": "x",
                    "value": value,
                    "stderr": 0.01 * value,
                    "n": 500,
                    "higher_is_better": higher,
                    "primary": True,
                }
            )
    return Results(cells=pd.DataFrame(cells), scores=pd.DataFrame(scores))


def test_the_curves_of_a_sweep_over_sparsity_and_over_bits() -> None:
    (panel,) = panels(sweep())
    assert [(name, axis, len(rows)) for name, axis, rows, _ in series(panel)] == [
        ("wanda", "sparsity", 8),
        ("gptq", "bits", 5),
    ]
    by_axis = {axis: one for _, axis, _, _, one in tolerances(panel, "sr2")}
    assert by_axis["sparsity"].point == pytest.approx(0.45, abs=0.01)
    assert by_axis["bits"].point == pytest.approx(0.8, abs=0.02)
    text = to_markdown(tolerance_table([panel]))
    assert "45.0 (" in text
    assert "3.2 (" in text  # 16 (1 - .8) bits
    assert [(kind, len(c.s)) for _, kind, c in perplexity_curves([panel])] == [
        ("sparsity", 8),
        ("bits", 5),
    ]
    row = perplexity_table([panel]).rows.iloc[0]
    assert row["hinge_point"] == pytest.approx(0.55, abs=0.01)


def test_a_sweep_without_curves_has_none(make) -> None:
    (panel,) = panels(make())
    assert perplexity_curves([panel]) == []
    assert tolerance_table([panel]).rows.empty


def test_the_band_holds_its_curve_and_figures_are_drawn() -> None:
    rng = np.random.default_rng(32)
    y = retained(S, 0.45, 4.0) + rng.normal(0, 0.01, len(S))
    low, high = band(fit(S, y), S, y, None, [0.3, 0.6])
    truth = retained([0.3, 0.6], 0.45, 4.0)
    assert ((low <= truth) & (truth <= high)).all()
    assert ((high - low) < 0.2).all()
    drawn = list(curve_figures(panels(sweep())))
    assert [f.name for f in drawn] == ["curves_over_sparsity_m", "curves_over_bits_m"]


def test_a_curve_ends_at_guessing_and_not_at_nothing(make) -> None:
    """Three tasks of which chance keeps 0.25/.62 ...: the floor is theirs, not 0."""
    panel = panels(make())[0]
    level, dense = np.array([0.25, 0.25, 0.5]), np.array([0.62, 0.71, 0.83])
    assert chance_floor(panel, "sr2") == pytest.approx(level.sum() / dense.sum())
    # The perplexity has no level of its own: nothing is kept by guessing.
    assert chance_floor(panel, "sr1") == pytest.approx((level / dense).sum() / 4)
    s = np.linspace(0.1, 0.9, 9)
    truth = retained(s, 0.5, 6.0, floor=0.46)
    bounded, unbounded = fit(s, truth, floor=0.46), fit(s, truth)
    assert bounded.point == pytest.approx(0.5, rel=1e-3)
    assert bounded.value(3.0) == pytest.approx(0.46)
    assert bounded.rss < 1e-6 < unbounded.rss
