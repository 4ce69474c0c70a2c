"""Cells whose weights are not there: sizes without a mask, curves over what is removed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.comparison.size import sizes
from analysis.curves.measured_curves import series
from analysis.curves.measured_surface import budget_tables, surfaces
from analysis.data.panel import panels
from analysis.data.results import Results
from analysis.report.figures import srcr_figures
from analysis.report.figures.mpt_beside import beside_figures, beside_table, doubled, pairs
from analysis.report.sections import Material, figures_of
from analysis.statistics.perplexity_transition import curve


def results() -> Results:
    kinds = [("", "", 0.0), *(("asvd", "low-rank", s / 10) for s in range(1, 7))]
    kinds += [("shortgpt", "structured", 0.2), ("sparsegpt", "unstructured", 0.2)]
    cells = pd.DataFrame(
        [
            {
                "cell": f"c{i}-{bits}",
                "label": f"{prune} {s} {bits}",
                "model": "m",
                "prune_method": prune,
                "sparsity": s,
                "pattern": pattern,
                "quant_method": "rtn" if bits < 16 else "",
                "bits": bits,
                "group_size": 64,
                "mask": "keep" if prune == "sparsegpt" and bits < 16 else "none",
                "calibration_seed": 0,
                "status": "done",
                "reason": "",
                "achieved_sparsity": s,
                "linear_weights": 1000,
                "total_weights": 1200,
            }
            for i, (prune, pattern, s) in enumerate(kinds)
            for bits in (16, 8)
        ]
    )
    scores = pd.DataFrame(
        [
            {
                "cell": row["cell"],
                "task": "text",
                "metric": "word_perplexity",
                "primary": True,
                "value": 10 + 40 * row["sparsity"] + (16 - row["bits"]),
                "stderr": 0.1,
                "higher_is_better": False,
            }
            for row in cells.to_dict("records")
        ]
    )
    return Results(cells=cells, scores=scores)


def test_what_is_not_there_needs_no_mask() -> None:
    (panel,) = panels(results())
    table = sizes(panel).set_index(["pattern", "sparsity", "bits"])
    bits = ["bits_served", "bits_bitmask", "bits_best_mask"]
    for pattern in ("low-rank", "structured"):
        assert (table.loc[(pattern, 0.2, 16), bits] == 16 * 0.8).all()
        # a scale of 16 bit for 64 weights that are left
        assert list(table.loc[(pattern, 0.2, 8), bits]) == pytest.approx([8.25 * 0.8] * 3)
    zeros = table.loc[("unstructured", 0.2, 8)]
    assert zeros["bits_served"] == 8.25
    assert zeros["bits_bitmask"] == pytest.approx(8 * 0.8 + 1 + 0.25)
    assert table.loc[("low-rank", 0.2, 16), "share_served"] == pytest.approx(1 - 0.2 * 1000 / 1200)


def test_scales_are_counted_per_weight_of_the_dense_model() -> None:
    made = results()
    known = Results(cells=made.cells.assign(scale_bits=0.3), scores=made.scores)
    (panel,) = panels(known)
    table = sizes(panel).set_index(["pattern", "sparsity", "bits"])
    found = table.loc[("low-rank", 0.2, 8), ["bits_served", "bits_bitmask"]]
    assert list(found) == pytest.approx([8 * 0.8 + 0.3] * 2)
    assert table.loc[("low-rank", 0.2, 16), "bits_served"] == 16 * 0.8


def test_removed_parameters_have_curves() -> None:
    (panel,) = panels(results())
    named = {name: rates for name, axis, _, rates in series(panel) if axis == "sparsity"}
    assert named["asvd"] == named["asvd + rtn 8bit"] == pytest.approx([s / 10 for s in range(1, 7)])
    assert named["shortgpt"] == [0.2]


def test_what_is_allocated_has_curves_of_its_own() -> None:
    made = results()
    more = made.cells.assign(
        cell=made.cells["cell"] + "/a",
        label=made.cells["label"] + " (allocated)",
        prune_profile="allocated",
    )[made.cells["prune_method"] == "asvd"]
    scores = made.scores.assign(cell=made.scores["cell"] + "/a")
    scores = scores[scores["cell"].isin(more["cell"])]
    both = Results(cells=pd.concat([made.cells, more]), scores=pd.concat([made.scores, scores]))
    (panel,), (alone,) = panels(both), panels(made)
    named = {name: rates for name, axis, _, rates in series(panel) if axis == "sparsity"}
    assert (
        named["asvd"] == named["asvd (allocated)"] == pytest.approx([s / 10 for s in range(1, 7)])
    )
    (uniform,) = surfaces(alone)
    found = surfaces(panel)
    assert [s.table for s in found] == ["asvd + rtn, text", "asvd (allocated) + rtn, text"]
    assert [list(s.s[8]) for s in found] == [list(uniform.s[8])] * 2
    rows = budget_tables([panel]).rows
    assert set(rows["mask"]) == {"none is needed"}


def test_sparsity_and_bits_that_are_allocated_make_no_line_together() -> None:
    made = results()
    last = made.cells["sparsity"] == 0.6
    mixed = made.cells[last & (made.cells["bits"] == 8)]
    apart = [
        mixed.assign(cell=name, label=name, **{name: "allocated"})
        for name in ("prune_profile", "quant_profile")
    ]
    same = made.scores[made.scores["cell"] == mixed["cell"].iat[0]]
    scores = [same.assign(cell=one["cell"].iat[0]) for one in apart]
    both = Results(cells=pd.concat([made.cells, *apart]), scores=pd.concat([made.scores, *scores]))
    (panel,) = panels(both)
    named = {name: rates for name, axis, _, rates in series(panel) if axis == "sparsity"}
    assert named["asvd (allocated) + rtn 8bit"] == named["asvd + rtn 8bit (allocated)"] == [0.6]


def test_lines_of_figures_keep_apart_what_is_spread_otherwise(make, monkeypatch) -> None:
    drawn: list[str] = []

    def points(axes, rows, x, y, colour, marker, name, **_):
        drawn.append(f"{name}: {len(rows)}")

    monkeypatch.setattr(srcr_figures, "points", points)

    def more(table: pd.DataFrame) -> pd.DataFrame:
        both = [
            table[table["cell"].str.endswith(f"-135M/{name}")] for name in ("4bit", "25% + 4bit")
        ]
        added = [part.assign(cell=part["cell"] + " (allocated)") for part in both]
        if "label" in table:
            added = [part.assign(quant_profile="allocated") for part in added]
        return pd.concat([table, *added])

    results = make(cells=more, scores=more)
    figures_of(Material(results=results, groups=panels(results)))
    assert "gptq: 3" in drawn
    assert "gptq allocated: 1" in drawn
    assert {"4bit: 1", "4bit (allocated bits): 1"} <= set(drawn)


def test_a_sweep_has_a_surface_and_the_best_pair_at_each_budget() -> None:
    (panel,) = panels(results())
    (data,) = surfaces(panel)
    assert data.table == "asvd + rtn, text"
    assert data.bits == (16, 8)
    assert list(data.s[8]) == pytest.approx([s / 10 for s in range(7)])
    assert data.ratio[8] == 8.25 / 16
    rows = budget_tables([panel]).rows.set_index("budget")
    # 16 bit fit half the budget at 50 % removed (30); 8 bit at 3 % (18 + 1.2)
    assert rows.loc[0.5, "bits"] == "8"
    assert rows.loc[0.5, "sparsity"] == pytest.approx(1 - 0.5 / (8.25 / 16))
    assert rows.loc[0.5, "ppl"] == pytest.approx(18 + 40 * (1 - 0.5 / (8.25 / 16)), rel=1e-3)
    assert rows.loc[0.5, "second_ppl"] == pytest.approx(30)
    assert set(rows["mask"]) == {"none is needed"}


def test_measured_curves_stand_beside_the_published_ones_of_their_methods() -> None:
    made = results()
    assert not pairs(panels(made)), "the published ASVD looks for its ranks"
    searched = made.cells["prune_method"] == "asvd"
    made.cells["prune_profile"] = np.where(searched, "allocated", "")
    groups = panels(made)
    found = {(mine.name, table, theirs.name) for _, mine, table, theirs in pairs(groups)}
    assert ("asvd (allocated), text over sparsity", "7", "ASVD") in found
    assert ("asvd (allocated) + rtn 8bit, text over sparsity", "8", "ASVD + RTN 8bit") in found
    assert not any("PTB" in theirs for _, _, theirs in found), (
        "that is another text, or calibration"
    )
    rows = beside_table(groups).rows
    assert set(rows["agree"]) <= {"yes", "may", "no", "too few points"}
    (figure,) = beside_figures(groups)
    assert b"<svg" in figure.svg


def test_doubling_is_found_between_points() -> None:
    data = curve("c", [0.1, 0.2, 0.3], [10, 14, 28])
    assert doubled(data) == pytest.approx(0.2 + 0.1 * np.log(20 / 14) / np.log(2))
    assert np.isnan(doubled(curve("c", [0.1, 0.2], [10, 14])))
