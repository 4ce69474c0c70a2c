"""Tables and figures of the paper: published numbers come out as printed, gaps are marked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.data.panel import panels
from analysis.data.results import Results
from analysis.data.task_groups import LABORDE, pooled
from analysis.output import render
from analysis.published.reference import facts, laborde2025
from analysis.reproduction.laborde_audit import audit, audit_table
from analysis.reproduction.laborde_figures import NUMBERS, RETENTIONS, Side, figure, figures
from analysis.reproduction.laborde_tables import (
    CAPTIONS,
    config,
    configs,
    find,
    rate_table,
    score_table,
    tables,
)
from analysis.reproduction.measured_vs_published import beside_table, versions


@pytest.fixture(scope="module")
def both():
    return panels(laborde2025())


def rounded(value: float) -> float:
    return round(value + 1e-9, 1)


@pytest.mark.parametrize("name", list(CAPTIONS)[1:])
def test_every_printed_score_stands_where_it_was_printed(both, name: str) -> None:
    made, printed = score_table(both, name).rows, facts("laborde2025", name)
    for task in ("MMLU-Pro", "BBH", "MATH"):
        rows = printed[printed["task"] == task]
        assert list(made["model"]) == list(rows["model"])
        assert [rounded(v) for v in made[task]] == list(rows["value"])
        assert np.allclose(made[f"{task}_std"], rows["std"], atol=0.05)


def test_means_follow_from_the_benchmarks(both) -> None:
    made = score_table(both, "II").rows
    assert made["Mean"].iloc[0] == pytest.approx((35.4 + 62.3 + 17.7) / 3)
    assert made["Mean_std"].iloc[0] == pytest.approx((0.4**2 + 0.5**2 + 0.5**2) ** 0.5 / 3)


def test_table_one_is_the_printed_one() -> None:
    text = render.to_markdown(rate_table())
    assert "| 3 bit | 81.25 % | 85.9375 % | 87.5 % | 90.625 % |" in text


def test_the_paper_has_24_configurations() -> None:
    assert len(configs()) == 24
    assert config("2:6 + 3bit") == (1 / 3, "2:6", "gptq", 3)


def test_a_cell_that_lacks_is_a_marked_gap() -> None:
    full = laborde2025()
    cells = full.cells[full.cells["label"] != "3bit"]
    scores = full.scores[full.scores["cell"].isin(cells["cell"])]
    table = score_table(panels(Results(cells=cells, scores=scores)), "III")
    gaps = table.rows[table.rows["label"] == "3bit"]
    assert len(gaps) == 2
    assert gaps["BBH"].isna().all()
    assert "LLaMA-3.1-8B 3bit" in table.notes[0]
    assert len(table.rows) == 10


def test_the_papers_case_is_taken_where_there_are_two() -> None:
    full = laborde2025()
    joint = full.cells[full.cells["label"] == "25% + 4bit"].assign(mask="keep")
    joint = joint.assign(cell=joint["cell"] + "/kept")
    both = Results(cells=pd.concat([full.cells, joint]), scores=full.scores)
    panel = panels(both)[0]
    row = find(panel, config("25% + 4bit"))
    assert row is not None
    assert panel.cells["mask"].iat[row] == "ignore"


def test_the_papers_cells_are_uniform(make) -> None:
    made = make()
    first = made.cells["label"] == "4bit"
    mixed = made.cells[first].assign(
        cell="0/first", quant_profile="allocated", label="4bit (allocated)"
    )
    both = Results(cells=pd.concat([mixed, made.cells]), scores=made.scores)
    panel = panels(both)[0]
    row = find(panel, config("4bit"))
    assert row is not None
    assert panel.cells["label"].iat[row] == "4bit"


def test_a_measured_sweep_of_other_tasks_fills_what_it_can(make) -> None:
    made = {table.name: table for table in tables(panels(make()))}
    assert len(made) == 7
    assert made["table2"].rows["arithmetic"].iloc[0] == pytest.approx(62)
    assert made["table2"].rows["topics"].iloc[0] == pytest.approx(21.3)  # a perplexity as it is
    mean = made["table2"].rows["Mean"].iloc[0]
    assert mean == pytest.approx(100 * np.mean([0.62, 0.71, 0.83]))


def test_all_figures_are_drawn_and_are_the_same_again(both) -> None:
    drawn = figures([Side(name="published", panels=both)])
    assert [one.name for one in drawn] == [f"fig{n}" for n in range(1, 9)]
    again = figure(5, [Side(name="published", panels=both)])
    assert again is not None
    assert again.svg == drawn[4].svg


def test_figures_show_the_cells_that_the_paper_shows() -> None:
    assert tuple(range(1, 9)) == NUMBERS
    for _, names in RETENTIONS.values():
        assert all(config(name).label == name for name in names)
    rates = [config(name).tcr for name in RETENTIONS[5][1]]
    assert rates[0] == rates[1] < rates[2] == rates[3] < rates[4] == rates[5]


def test_a_figure_without_data_is_not_drawn(make) -> None:
    dense = make(cells=lambda cells: cells[cells["label"] == "dense"])
    assert figures([Side(name="sweep", panels=panels(dense))]) == []


# --- the audit ---


def test_one_printed_number_cannot_be() -> None:
    odd = audit()
    odd = odd[odd["finding"] == "impossible"]
    assert len(odd) == 1
    assert tuple(odd[["model", "what", "printed"]].iloc[0]) == ("LLaMA-3.1-8B", "MATH Std", 0.5)
    assert odd["recomputed"].iloc[0] == pytest.approx(100 * (0.105 * 0.895 / 4999) ** 0.5)


def test_table_one_agrees_with_the_formula() -> None:
    rates = audit()
    rates = rates[rates["what"] == "TCr"]
    assert len(rates) == 20
    assert (rates["finding"] == "agrees").all()


def test_the_audit_sees_a_misprint(monkeypatch) -> None:
    def misprinted(source: str, table: str) -> pd.DataFrame:
        frame = facts(source, table).copy()
        if table == "II":
            frame.loc[(frame["task"] == "Mean") & (frame["sparsity_pct"] == 50), "value"] = 25.0
        return frame

    monkeypatch.setattr("analysis.reproduction.laborde_audit.facts", misprinted)
    found = audit()
    wrong = found[(found["what"] == "Mean") & (found["finding"] == "impossible")]
    assert len(wrong) == 2
    assert "impossible" in audit_table().notes[0]


# --- measured beside published ---


def shifted(by: float, *, version: str = "3.1") -> Results:
    full = laborde2025()
    scores = full.scores.assign(value=(full.scores["value"] + by).clip(0, 1), version=version)
    cells = full.cells.assign(model=full.cells["model"].str.lower())
    return Results(cells=cells, scores=scores)


def test_a_difference_is_told_in_standard_errors(both) -> None:
    measured = shifted(0.02)
    table = beside_table(panels(measured), both, versions(measured))
    assert len(table.rows) == 144
    row = table.rows[(table.rows["label"] == "dense") & (table.rows["task"] == "MMLU-Pro")].iloc[0]
    assert row["difference"] == pytest.approx(2.0)
    assert row["z"] == pytest.approx(2 / (0.4**2 + 0.4**2) ** 0.5)
    assert row["flag"] == "outside 2"
    assert "task version 3.1" in " ".join(table.notes)


def test_equal_numbers_are_not_flagged(both) -> None:
    measured = shifted(0.0)
    table = beside_table(panels(measured), both, versions(measured))
    assert (table.rows["flag"] == "").all()
    assert table.notes[0].startswith("0 of 144")


def test_what_is_known_to_differ_is_named(both) -> None:
    full = shifted(0.0)
    cells = full.cells.assign(
        mask=full.cells["mask"].replace("ignore", "keep"),
        group_size=full.cells["group_size"].replace(128, 64),
    )
    measured = Results(cells=cells, scores=full.scores)
    rows = beside_table(panels(measured), both, versions(measured)).rows
    how = rows[rows["label"] == "25% + 4bit"]["how"].iloc[0]
    assert "mask kept" in how
    assert "group size 64 instead of 128" in how


def test_nothing_in_common_is_said(both, make) -> None:
    table = beside_table(panels(make()), both, {})
    assert table.rows.empty
    assert "Nothing in common: measured SmolLM2-135M on arithmetic" in table.notes[0]
    render.to_markdown(table)


# --- subtasks become benchmarks ---


def parts(n: tuple[int, ...] = (100, 300)) -> Results:
    cells = pd.DataFrame(
        [
            {
                "cell": c,
                "label": c,
                "model": "m",
                "prune_method": "",
                "sparsity": 0,
                "pattern": "",
                "quant_method": "" if bits == 16 else "gptq",
                "bits": bits,
                "mask": "none",
                "calibration_seed": None,
                "status": "done",
                "reason": "",
            }
            for c, bits in (("dense", 16), ("4bit", 4))
        ]
    )
    scores = pd.DataFrame(
        [
            {
                "cell": c,
                "task": f"minerva_math_{t}",
                "metric": "exact_match",
                "value": v,
                "stderr": (v * (1 - v) / (k - 1)) ** 0.5,
                "n": k,
                "higher_is_better": True,
                "primary": True,
                "version": "3.1",
                "chance": 0.0,
            }
            for c in ("dense", "4bit")
            for t, v, k in zip("ab", (0.2, 0.6), n, strict=True)
        ]
    )
    return Results(cells=cells, scores=scores)


def test_a_benchmark_is_the_mean_over_documents() -> None:
    whole = pooled(parts(), LABORDE).scores
    assert list(whole["task"]) == ["MATH", "MATH"]
    assert whole["value"].iloc[0] == pytest.approx((0.2 * 100 + 0.6 * 300) / 400)
    assert whole["n"].iloc[0] == 400
    variance = 99 * 100 * (0.2 * 0.8 / 99) + 299 * 300 * (0.6 * 0.4 / 299)
    assert whole["stderr"].iloc[0] == pytest.approx((variance / 398 / 400) ** 0.5)


def test_a_cell_without_one_subtask_has_no_benchmark() -> None:
    full = parts()
    some = full.scores[(full.scores["cell"] == "dense") | full.scores["task"].str.endswith("a")]
    whole = pooled(Results(cells=full.cells, scores=some), LABORDE).scores
    assert list(whole["cell"]) == ["dense"]


def test_other_tasks_stay(make) -> None:
    results = make()
    assert pooled(results, LABORDE) is results
    assert pooled(results) is results
