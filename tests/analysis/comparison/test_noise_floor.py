"""The dense model scored again: no cell to compare, but the floor under all comparisons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.comparison.noise_floor import noise_table
from analysis.data.documents import Documents
from analysis.data.panel import panels
from analysis.data.results import BadResults, Results
from analysis.report.report import write_report

DENSE, AGAIN = "SmolLM2-135M/dense", "SmolLM2-135M/dense (rerun 1)"


def rerun(results: Results, **changes: object) -> Results:
    """The same with the dense cell scored once more, one task a little apart."""
    first = results.cells[results.cells["cell"] == DENSE]
    again = first.assign(cell=AGAIN, label="dense (rerun 1)", rerun=1, **changes)
    scores = results.scores[results.scores["cell"] == DENSE].assign(cell=AGAIN)
    scores.loc[scores["task"] == "facts", "value"] += 0.005
    return Results(
        cells=pd.concat([results.cells, again]),
        scores=pd.concat([results.scores, scores]),
        documents=Documents(
            {
                (DENSE, "facts"): documents(["0", "1", "2"], [1, 0, 0]),
                (AGAIN, "facts"): documents(["0", "2", "3"], [1, 1, 0]),
                (DENSE, "topics"): perplexities([-1.0, -2.0]),
                (AGAIN, "topics"): perplexities([-1.0, -2.5]),
            }
        ),
    )


def documents(said: list[str], scores: list[float]) -> pd.DataFrame:
    return identified(len(said)).assign(prediction=said, acc=scores)


def perplexities(sums: list[float]) -> pd.DataFrame:
    table = identified(len(sums)).assign(prediction=None)
    return table.assign(**{"word_perplexity.sum": sums, "word_perplexity.weight": 1.0})


def identified(count: int) -> pd.DataFrame:
    names = [f"d{i}" for i in range(count)]
    return pd.DataFrame({"doc_id": range(count), "doc_hash": names, "target_hash": names})


def test_two_equal_evaluations_are_put_side_by_side(make) -> None:
    rows = noise_table(rerun(make())).rows.set_index("task")
    assert sorted(rows.index) == ["arithmetic", "facts", "grammar", "topics"]
    assert set(rows["label"]) == {"dense (rerun 1)"}
    assert rows.loc["facts", "difference"] == pytest.approx(0.005)
    assert rows.loc["grammar", "difference"] == 0
    assert list(rows.loc["facts", ["n", "answers", "scores"]]) == [3, 2, 1]
    assert rows.loc["topics", "scores"] == 1
    assert np.isnan(rows.loc["topics", "answers"])  # a perplexity chooses nothing
    assert np.isnan(rows.loc["grammar", "n"])  # no documents are known
    assert set(rows["remark"]) == {""}


def test_a_rerun_on_another_device_says_so(make) -> None:
    rows = noise_table(rerun(make(), device="NVIDIA A100")).rows
    assert set(rows["remark"]) == {"on NVIDIA A100, first on cpu"}


def test_a_rerun_that_is_not_done_says_why(make) -> None:
    (row,) = noise_table(rerun(make(), status="failed", reason="no disk")).rows.to_dict("records")
    assert (row["label"], row["remark"]) == ("dense (rerun 1)", "failed: no disk")
    alone = rerun(make())
    alone = Results(
        cells=alone.cells[alone.cells["cell"] != DENSE],
        scores=alone.scores[alone.scores["cell"] != DENSE],
    )
    (row,) = noise_table(alone).rows.to_dict("records")
    assert row["remark"] == "no dense baseline with scores"


def test_it_is_compared_with_nothing_else(make, tmp_path: Path) -> None:
    results = rerun(make())
    (panel,) = panels(results)
    assert AGAIN not in set(panel.cells["cell"])
    assert panel.cells["cell"].iat[panel.baseline] == DENSE
    files = write_report(results, tmp_path, title="t", provenance={})
    assert "Noise floor: the same cell scored again" in files["report.html"].read_text()
    assert "tables/noise_floor.csv" in files
    assert "rerun" not in files["tables/cells.md"].read_text()


def test_a_report_without_a_rerun_has_no_such_table(make, tmp_path: Path) -> None:
    assert noise_table(make()).rows.empty
    assert "tables/noise_floor.csv" not in write_report(make(), tmp_path, title="t", provenance={})


def test_only_the_dense_model_is_scored_again(make) -> None:
    def wrong(cells: pd.DataFrame) -> pd.DataFrame:
        return cells.assign(rerun=[int(label == "4bit") for label in cells["label"]])

    with pytest.raises(BadResults, match="only the dense model is scored again"):
        make(cells=wrong)
