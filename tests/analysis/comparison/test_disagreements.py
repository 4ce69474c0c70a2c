"""Where two cells part, and what is left of a task when guessing is taken off."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.comparison.at_chance import chance_table
from analysis.comparison.disagreements import (
    LONGEST,
    MOST,
    SHOWN,
    asked,
    disagreement_table,
    disagreement_texts,
)
from analysis.data.documents import Documents
from analysis.data.panel import panels
from analysis.data.questions import Question
from analysis.data.results import Results
from analysis.report.report import write_report

EVIL = "<script>alert(1)</script>"


def answers(said: list[str], scores: list[float]) -> pd.DataFrame:
    count = len(said)
    return pd.DataFrame(
        {
            "doc_id": range(count),
            "doc_hash": [f"d{i}" for i in range(count)],
            "target_hash": [f"t{i}" for i in range(count)],
            "prediction": said,
            "acc": scores,
        }
    )


def with_documents(results: Results, tables: dict[str, pd.DataFrame]) -> Results:
    keyed = {(f"SmolLM2-135M/{cell}", "facts"): table for cell, table in tables.items()}
    return Results(cells=results.cells, scores=results.scores, documents=Documents(keyed))


def test_documents_on_which_the_best_and_its_rival_part_are_listed(make, tmp_path: Path) -> None:
    best = answers(["0", "1", EVIL, "3"], [1, 0, 1, 0])
    rival = answers(["0", "2", "x" * 500, "3"], [1, 1, 0, 0])
    results = with_documents(make(), {"25%": best, "2:8": rival})
    table = disagreement_table(panels(results))
    assert list(table.rows["doc_id"]) == ["1", "2"]
    assert set(table.rows["first"]) == {"25%"}
    assert list(table.rows["first_said"]) == ["1", EVIL]
    assert len(table.rows["second_said"].iloc[1]) == LONGEST
    assert list(table.rows["second_score"]) == [1, 0]
    files = write_report(results, tmp_path, title="t", provenance={})
    page = files["report.html"].read_text()
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert EVIL in files["tables/disagreements.csv"].read_text()


def test_they_are_shown_as_questions_and_answers(make, tmp_path: Path) -> None:
    best, rival = answers(["1"] * 9, [1] * 9), answers(["0"] * 9, [0] * 9)
    results = with_documents(make(), {"25%": best, "2:8": rival})
    groups = panels(results)
    assert asked(groups) == {f"d{i}": "facts" for i in range(SHOWN)}
    hot = Question(text=f"The opposite of hot is{EVIL}", choices=("warm", "cold"), right="cold")
    table = disagreement_texts(groups, {"d1": hot, "unknown": hot})
    (row,) = table.rows.to_dict("records")
    assert (row["first_said"], row["second_said"], row["right"]) == ("cold", "warm", "cold")
    assert (row["first"], row["second"], row["task"]) == ("25%", "2:8", "facts")
    files = write_report(results, tmp_path, title="t", provenance={}, questions={"d1": hot})
    page = files["report.html"].read_text()
    assert "The opposite of hot is&lt;script&gt;" in page
    assert EVIL not in page
    without = write_report(results, tmp_path, title="t", provenance={})
    assert "tables/disagreement_texts.csv" not in without


def test_an_answer_is_the_choice_of_its_number_or_what_was_written() -> None:
    listed = Question(text="?", choices=("a", "b"))
    assert [listed.answer(said) for said in ("1", "7", "free")] == ["b", "7", "free"]
    assert Question(text="?").answer("1") == "1"


def test_other_documents_do_not_disagree_and_many_are_cut(make) -> None:
    best = answers(["0"] * 99, [1] * 99)
    rival = answers(["1"] * 99, [0] * 99)
    some = disagreement_table(panels(with_documents(make(), {"25%": best, "2:8": rival})))
    assert len(some.rows) == MOST
    other = rival.assign(doc_hash="another")
    none = disagreement_table(panels(with_documents(make(), {"25%": best, "2:8": other})))
    assert none.rows.empty


def test_records_without_predictions_are_passed_over(make) -> None:
    bare = answers(["0", "1"], [1, 0]).drop(columns="prediction")
    tables = {"25%": bare, "2:8": bare}
    assert disagreement_table(panels(with_documents(make(), tables))).rows.empty


def change(scores: pd.DataFrame, cell: str, **values: float) -> pd.DataFrame:
    scores = scores.copy()
    at = scores["cell"].str.endswith(f"/{cell}") & (scores["task"] == "facts")
    for column, value in values.items():
        scores.loc[at, column] = value
    return scores


def test_a_task_at_chance_is_shown_without_the_guessing(make) -> None:
    assert chance_table(panels(make())).rows.empty

    def weak(scores: pd.DataFrame) -> pd.DataFrame:
        return change(change(scores, "dense", value=0.29, stderr=0.03), "4bit", value=0.27)

    rows = chance_table(panels(make(scores=weak))).rows.set_index("label")
    assert set(rows["task"]) == {"facts"}
    assert rows.loc["4bit", "above"] == pytest.approx((0.27 - 0.25) / (0.29 - 0.25))
    assert rows.loc["4bit", "raw"] == pytest.approx(0.27 / 0.29)
    assert rows.loc["4bit", "interval"] == "unbounded"  # 0.04 +- 0.03 bounds no ratio
    assert rows.loc["dense", "interval"] == "exactly 1"
    assert rows.loc["dense", "above"] == 1
