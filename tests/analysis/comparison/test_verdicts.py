"""Verdicts: what the data decide, what they cannot, and how that is said."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.comparison.verdicts import (
    compare,
    equal_tcr_groups,
    look_at,
    srcr_verdicts,
    verdicts,
)
from analysis.data.labels import labels
from analysis.data.panel import Panel, panels
from analysis.data.results import Results
from analysis.output.text import percent, plus_minus
from analysis.report.sentences import conclusion, sentences
from analysis.report.tables import cells_table
from analysis.statistics.holm import holm


def named(panel: Panel, rows) -> list[str]:
    return [panel.cells["label"].iat[row] for row in rows]


def at(panel: Panel, rate: Fraction, by="sr2"):
    return next(v for v in verdicts(panel, by) if v.tcr == rate)


def test_groups_are_exact(published) -> None:
    groups = equal_tcr_groups(panels(published)[0].cells)
    cells = panels(published)[0].cells
    assert list(groups)[:3] == [0, Fraction(1, 4), Fraction(1, 3)]
    assert {cells["label"].iat[r] for r in groups[Fraction(7, 8)]} == {
        "2bit",
        "33.333% + 3bit",
        "2:6 + 3bit",
        "1:3 + 3bit",
    }


def test_the_papers_pair_at_81_25_percent(published) -> None:
    panel = panels(published)[0]
    rows = [list(panel.cells["label"]).index(name) for name in ("3bit", "25% + 4bit")]
    verdict = compare(panel, rows, "sr2", rate=Fraction(13, 16))
    # z = (94.4 - 69.3) / sqrt(.4^2 + .5^2 + .5^2 + .4^2 + .6^2 + .3^2), by hand
    assert verdict.pairs[0].z == pytest.approx(25.1 / np.sqrt(1.27), rel=1e-9)
    assert named(panel, verdict.best) == ["25% + 4bit"]
    (told,) = sentences(panel, verdict)
    assert told == (
        "At 81.25 % TCr, 25% + 4bit keeps 0.818 ± 0.009 of the dense model, 3bit 0.601 ± 0.008: "
        "for these checkpoints, 25% + 4bit is better, by 0.218 "
        "(95 % CI 0.198 to 0.237, p < 0.001)."
    )


def test_what_the_data_cannot_decide_is_undecided(published) -> None:
    panel = panels(published)[0]
    verdict = at(panel, Fraction(1, 2))
    assert named(panel, verdict.best) == ["8bit", "LLM.int8"]
    assert "is not significantly different from LLM.int8: undecided; worse: 50%" in conclusion(
        panel, verdict
    )
    assert "not significantly different, by 0.005 (95 % CI" in sentences(panel, verdict)[0]


def test_a_cell_short_of_its_rate_cannot_win(make) -> None:
    (panel,) = panels(make())
    verdict = at(panel, Fraction(13, 16))
    assert "25% + 4bit (mask ignored)" not in named(panel, verdict.ranked)
    assert any(
        "its achieved TCr is 75.48 %, not 81.25 %" in line for line in sentences(panel, verdict)
    )
    joint = next(v for v in srcr_verdicts(panel) if v.by == "srcr_j")
    assert "25% + 4bit (mask ignored)" not in named(panel, joint.best)


def test_a_mask_that_was_ignored_never_competes_however_little_it_lost(make) -> None:
    """80.77 % is no 81.25 %: a label that is not proved takes no part at equal rate."""
    name = "25% + 4bit (mask ignored)"

    def nearly(cells):
        ignored = cells["label"] == name
        return cells.assign(
            achieved_sparsity=cells["achieved_sparsity"].where(~ignored, 0.231),
            achieved_tcr=cells["sparsity"].where(~ignored, 0.8077).where(ignored),
            containment=cells["containment"].where(~ignored, 0.7),
            containment_mean=cells["containment"].where(ignored * 0 == 1).where(~ignored, 0.92396),
        )

    def best(scores):
        mine = scores["cell"].str.endswith(name) & (scores["metric"] == "acc")
        return scores.assign(value=scores["value"].where(~mine, 0.95))

    (panel,) = panels(make(cells=nearly, scores=best))
    verdict = at(panel, Fraction(13, 16))
    assert name not in named(panel, verdict.ranked)
    assert f"choose {name}" not in conclusion(panel, verdict)
    assert any(
        "92.39 % of its pruned weights are still zero (achieved TCr 80.77 %)" in line
        for line in sentences(panel, verdict)
    )
    assert all(name not in named(panel, v.ranked) for v in srcr_verdicts(panel))
    (whole,) = panels(
        make(
            cells=lambda c: nearly(c).assign(
                containment=1.0,
                containment_mean=1.0,
                achieved_sparsity=c["sparsity"],
                achieved_tcr=np.nan,
            ),
            scores=best,
        )
    )
    assert name in named(whole, at(whole, Fraction(13, 16)).ranked)


def test_what_is_measured_and_not_proved_takes_no_part(make) -> None:
    (panel,) = panels(
        make(
            cells=lambda c: c.assign(
                unproved=np.where(c["label"] == "25% + 4bit", "the mask is not known", "")
            )
        )
    )
    verdict = at(panel, Fraction(13, 16))
    assert "25% + 4bit" not in named(panel, verdict.ranked)
    assert "25% + 4bit is left out: the mask is not known." in sentences(panel, verdict)
    flags = cells_table([panel]).rows.set_index("label")["flags"]
    assert flags["25% + 4bit"] == "label not proved: the mask is not known"


def test_a_missing_standard_error_decides_nothing(make) -> None:
    (panel,) = panels(make(scores=lambda s: s.assign(stderr=np.nan)))
    verdict = at(panel, Fraction(7, 8))
    assert len(verdict.best) == 2
    assert "nothing is decided" in conclusion(panel, verdict)
    assert "a standard error is missing, undecided" in sentences(panel, verdict)[0]


def test_a_collapsed_winner_is_called_so(make) -> None:
    (panel,) = panels(make(cells=lambda c: c.assign(collapsed=c["bits"] < 4)))
    assert conclusion(panel, at(panel, Fraction(7, 8))).endswith("(collapsed: 33.333% + 3bit).")


def test_cells_without_sr_are_left_out_with_the_reason(make) -> None:
    (panel,) = panels(make(scores=lambda s: s[~s["cell"].str.endswith("/2bit")]))
    verdict = at(panel, Fraction(7, 8))
    assert "nothing to compare" in conclusion(panel, verdict)
    assert "2bit is left out: arithmetic: not scored" in sentences(panel, verdict)[0]


def test_without_a_baseline_nothing_is_judged(make) -> None:
    (panel,) = panels(make(cells=lambda c: c[c["label"] != "dense"]))
    assert conclusion(panel, at(panel, Fraction(1, 4))) == "At 25 % TCr, no cell can be judged."


def test_against_the_dense_cell_the_variance_is_that_of_the_other(make) -> None:
    (panel,) = panels(make())
    row = list(panel.cells["label"]).index("4bit")
    for by, sr in (("sr1", panel.sr1()), ("sr2", panel.sr2())):
        z = look_at(panel, [panel.baseline, row], by, np.ones(2)).z[0, 1]
        if by == "sr1":
            assert z == pytest.approx((1 - sr.value[row]) / sr.stderr[row])
        else:  # the test is of equal sums, so its variance is that of the null
            assert z > 0


def test_z_is_antisymmetric_and_zero_against_itself(published) -> None:
    panel = panels(published)[1]
    rows = list(range(len(panel.cells)))
    for by in ("sr1", "sr2"):
        z = look_at(panel, rows, by, np.ones(len(rows))).z
        assert z == pytest.approx(-z.T)
        assert (np.diag(z) == 0).all()


def test_z_of_sr1_matches_repeated_measurement(make) -> None:
    results = make()
    (panel,) = panels(results)
    rows = [list(panel.cells["label"]).index(n) for n in ("4bit", "2:8 + 4bit")]
    stated = look_at(panel, rows, "sr1", np.ones(2)).z[0, 1]
    difference = float(np.subtract(*panel.sr1().value[rows]))
    rng = np.random.default_rng(11)
    draw = lambda at: rng.normal(panel.value[at], panel.stderr[at], (40_000, 4))  # noqa: E731
    dense, one, two = (draw(r) for r in (panel.baseline, *rows))
    ratio = [np.where(panel.higher, x / dense, dense / x).mean(axis=1) for x in (one, two)]
    assert (ratio[0] - ratio[1]).std(ddof=1) == pytest.approx(difference / stated, rel=0.04)


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, np.nan])) == pytest.approx(
        [0.03, 0.06, 0.06, np.nan], nan_ok=True
    )
    assert holm(np.array([])).size == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_corrects_upwards_and_keeps_the_order(raw: list[float]) -> None:
    p = np.array(raw)
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, len(p) * p) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


def _equal_cells(rng: np.random.Generator, count: int = 5) -> Results:
    cells, scores = [], []
    for i in range(count + 1):
        bits, method = (16, "") if i == 0 else (4, f"m{i}")
        cells.append(
            {
                "cell": f"c{i}",
                "label": f"c{i}",
                "model": "m",
                "prune_method": "",
                "sparsity": 0,
                "pattern": "",
                "quant_method": method,
                "bits": bits,
                "mask": "none",
                "calibration_seed": 0,
                "status": "done",
                "reason": "",
            }
        )
        scores += [
            {
                "cell": f"c{i}",
                "task": f"t{t}",
                "metric": "acc",
                "stderr": 0.02,
                "value": rng.normal(0.6, 0.02),
                "higher_is_better": True,
                "primary": True,
            }
            for t in range(3)
        ]
    return Results(cells=pd.DataFrame(cells), scores=pd.DataFrame(scores))


def test_equal_cells_are_told_apart_in_at_most_five_percent_of_sweeps() -> None:
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(200):
        (panel,) = panels(_equal_cells(rng))
        (verdict,) = verdicts(panel)
        assert verdict.family == 10
        wrong += len(verdict.best) < 5
    assert wrong / 200 < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


def test_namesakes_get_what_tells_them_apart(make) -> None:
    def seeds(cells: pd.DataFrame) -> pd.DataFrame:
        again = cells[cells["label"] == "4bit"]
        return pd.concat([cells, again.assign(cell="again", calibration_seed=1)])

    (panel,) = panels(make(cells=seeds))
    assert {n for n in labels(panel) if n.startswith("4bit")} == {"4bit (seed 0)", "4bit (seed 1)"}
    assert "3bit" in labels(panel)


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (percent(Fraction(13, 16)), "81.25 %"),
        (percent(Fraction(55, 64)), "85.9375 %"),
        (percent(Fraction(1, 3)), "33.333 %"),
        (percent(Fraction(0)), "0 %"),
        (plus_minus(1.0, 0.0), "1"),
        (plus_minus(0.81802, 0.00909), "0.818 ± 0.009"),
        (plus_minus(0.0173, 0.00042), "0.0173 ± 0.0004"),
        (plus_minus(0.5, float("nan")), "0.500 ± ?"),
        (plus_minus(float("nan"), 0.1), "–"),
    ],
)
def test_numbers_as_people_read_them(shown: str, said: str) -> None:
    assert shown == said
