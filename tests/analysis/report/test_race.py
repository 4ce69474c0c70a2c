"""What a report says of a race."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.data.race_record import RaceRecord
from analysis.data.results import Results
from analysis.race.decide import decide
from analysis.race.decision import Decision
from analysis.race.settings import RaceSettings
from analysis.report.contents import conclusions, spoken
from analysis.report.figures.race_figures import _lines, _reference, race_figures
from analysis.report.race import race_sentences, race_table
from analysis.report.report import write_report
from tests.analysis.race.fields import race

SIZES = {"pro": [1500, 300], "math": [900]}
LEVELS = {"k1": 0.6, "k2": 0.5, "k3": 0.3, "k4": 0.59}
NAMES = {"k1": "4bit", "k2": "50% + 8bit", "k3": "75%", "k4": "NF4"}


@pytest.fixture(scope="module")
def looks() -> list[Decision]:
    field, answers = race(SIZES, LEVELS, groups={"m at 75 % TCr": list(LEVELS)})
    found: list[Decision] = []
    while not found or not found[-1].over:
        found.append(decide(RaceSettings(), field, answers, found))
    return found


@pytest.fixture
def raced(make, looks) -> Results:
    record = RaceRecord(looks=tuple(one.to_json() for one in looks), names=NAMES)
    return replace(make(), race=record)


def test_every_cell_has_its_verdict_and_the_look_at_which_it_fell(raced, looks) -> None:
    table = race_table(raced)
    rows = table.rows.set_index("label")
    assert rows.loc["75%", "verdict"].startswith("beaten by ")
    last = {pair.beaten: pair.decided for pair in looks[-1].groups[0].pairs if pair.beaten}
    assert rows.loc["75%", "look"] <= last["k3"]
    assert rows.loc["75%", "difference"] < 0
    assert set(rows.loc[["4bit", "NF4"], "verdict"]) == {"not told from NF4", "not told from 4bit"}
    assert rows["value"].notna().all()
    note = " ".join(table.notes)
    assert f"after {len(looks)} looks" in note
    assert "rule A" in note
    assert "all pairs of a group of cells" in note


def test_a_beaten_cell_is_never_shown_with_more_documents_than_it_was_asked(raced, looks) -> None:
    rows = race_table(raced).rows.set_index("cell")
    asked = {one.cell: one.look for one in looks[-1].cells}
    per_task = {one.look: one.per_task for one in looks}
    for cell in rows.index:
        assert rows.loc[cell, "per_task"] <= per_task[asked[cell]]


def test_the_chart_has_a_line_a_rival_and_one_panel_a_group(raced, looks) -> None:
    (figure,) = race_figures(raced)
    assert figure.name == "race_m"
    (group,) = looks[-1].groups
    first = _reference(group)
    assert _lines(looks, group, first).keys() == LEVELS.keys() - {first}
    (again,) = race_figures(raced)
    assert figure.svg == again.svg


def test_the_answer_begins_with_the_race(raced) -> None:
    (said,) = race_sentences(raced)
    assert said.startswith("m at 75 % TCr: all documents could not tell 4bit and NF4 apart; beaten")
    assert "75% (look 1)" in said
    assert conclusions(raced, [])[0] == said
    assert spoken(raced, []).startswith("The race, verdicts that hold at all its looks:")


def test_a_report_has_the_race_where_there_was_one(raced, make, tmp_path: Path) -> None:
    files = write_report(raced, tmp_path / "with", title="t", provenance={})
    assert {"tables/race.csv", "figures/race_m.svg"} <= files.keys()
    assert "The race" in files["report.html"].read_text()
    without = write_report(make(), tmp_path / "without", title="t", provenance={})
    assert not any("race" in name for name in without)


def test_a_survivor_alone_is_best(raced) -> None:
    field, answers = race(SIZES, {"k1": 0.6, "k3": 0.3})
    found = [decide(RaceSettings(), field, answers)]
    record = RaceRecord(looks=(found[0].to_json(),), names=NAMES)
    rows = race_table(replace(raced, race=record)).rows.set_index("label")
    assert rows.loc["4bit", "verdict"] == "best"
    assert rows.loc["75%", "look"] == 1
    assert np.isfinite(rows.loc["4bit", "difference"])


def test_cells_that_met_other_machines_are_marked(raced) -> None:
    where = {"k1": "NVIDIA A10", "k2": "NVIDIA A10", "k3": "NVIDIA A100", "k4": "NVIDIA A10"}
    cells = raced.cells.iloc[1:5].assign(cell=list(where), device=list(where.values()))
    results = Results(cells=cells, scores=raced.scores.iloc[:0], race=raced.race)
    assert race_sentences(results)[0].endswith("contains: NVIDIA A10; NVIDIA A100).")
    rows = race_table(results).rows.set_index("cell")
    assert rows.loc["k3", "across"] == "NVIDIA A10; NVIDIA A100"
    assert rows.loc["k1", "across"] == ""
    alike = Results(cells=cells.assign(device="NVIDIA A10"), scores=results.scores, race=raced.race)
    assert "machines" not in race_sentences(alike)[0]
    assert "across" not in [column.key for column in race_table(alike).columns]
