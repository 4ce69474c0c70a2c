"""Two cells that a reader asks for, side by side."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.comparison.two_cells import asked, compared_table, parting_table
from analysis.data.documents import Documents
from analysis.data.paired import mcnemar
from analysis.data.panel import panels
from analysis.data.results import Results
from analysis.errors import NotComparable
from analysis.output.render import printed
from analysis.report.report import write_report
from sweeper.cli.commands.report import compared
from sweeper.errors import BadInput

MODEL = "SmolLM2-135M"


def answers(said: list[str | None], scores: list[float], metric: str = "acc") -> pd.DataFrame:
    count = len(said)
    return pd.DataFrame(
        {
            "doc_id": range(count),
            "doc_hash": [f"d{i}" for i in range(count)],
            "target_hash": [f"t{i}" for i in range(count)],
            "prediction": said,
            metric: scores,
        }
    )


@pytest.fixture
def results(make) -> Results:
    """dense and 3bit answered 60 facts: 40 alike, 18 only dense right, 2 only 3bit right."""
    right = [1.0] * 38 + [0.0] * 22
    said = ["0"] * 60
    three = [1.0] * 20 + [0.0] * 18 + [1.0] * 2 + [0.0] * 20
    other = ["0"] * 20 + ["1"] * 18 + ["2"] * 2 + ["0"] * 20

    def scores(table: pd.DataFrame) -> pd.DataFrame:
        for cell, value in (("dense", 38 / 60), ("3bit", 22 / 60)):
            at = (table["cell"] == f"{MODEL}/{cell}") & (table["task"] == "facts")
            table.loc[at, ["value", "n"]] = [value, 60]
        return table

    found = make(scores=scores)
    keyed = {
        (f"{MODEL}/dense", "facts"): answers(said, right),
        (f"{MODEL}/3bit", "facts"): answers(other, three),
    }
    return Results(cells=found.cells, scores=found.scores, documents=Documents(keyed))


def test_two_that_met_other_machines_are_marked(results: Results) -> None:
    where = results.cells["label"].map({"3bit": "NVIDIA A10"}).fillna("NVIDIA A100")
    for device, expected in ((where, "NVIDIA A10; NVIDIA A100"), ("NVIDIA A100", "")):
        placed = Results(
            cells=results.cells.assign(device=device),
            scores=results.scores,
            documents=results.documents,
        )
        table = compared_table(asked(panels(placed), ["dense", "3bit"]))
        assert set(table.rows["across"]) == {expected}
        assert ("across" in [column.key for column in table.columns]) is bool(expected)


def test_task_by_task_and_document_by_document(results: Results, tmp_path: Path) -> None:
    pairs = asked(panels(results), ["dense", "3bit"])
    row = compared_table(pairs).rows.iloc[0]
    assert (row["first"], row["second"], row["task"], row["n"]) == ("dense", "3bit", "facts", 60)
    assert (row["only_first"], row["only_second"], row["differ"]) == (18, 2, 20)
    assert row["difference"] == pytest.approx(16 / 60)
    assert row["p"] == pytest.approx(mcnemar(18, 2))
    assert row["verdict"] == "dense"
    parting = parting_table(pairs).rows
    assert len(parting) == 20, "all of them, not only the first"
    assert set(parting["second_said"]) == {"1", "2"}
    turned = compared_table(asked(panels(results), ["3bit", "dense"])).rows.iloc[0]
    assert (turned["only_first"], turned["verdict"]) == (2, "dense")
    files = write_report(results, tmp_path, title="t", provenance={}, compare=["dense", "3bit"])
    assert "The two cells that were asked for" in files["report.html"].read_text()
    assert len(pd.read_csv(files["tables/parting.csv"])) == 20
    assert "tables/compared.csv" not in write_report(results, tmp_path, title="t", provenance={})


def keys(results: Results, names: list[str]) -> list[str]:
    ((panel, *rows),) = asked(panels(results), names)
    return list(panel.cells["cell"].iloc[rows])


def test_a_key_names_a_cell_as_well_as_its_label(results: Results) -> None:
    assert keys(results, [f"{MODEL}/dense", "3bit"]) == [f"{MODEL}/dense", f"{MODEL}/3bit"]


def test_a_task_without_answers_counts_none(results: Results) -> None:
    bare = {
        key: answers([None] * 60, list(results.documents.table(*key)["acc"]))
        for key in results.documents
    }
    same = Results(cells=results.cells, scores=results.scores, documents=Documents(bare))
    table = compared_table(asked(panels(same), ["dense", "3bit"]))
    assert table.rows["differ"].isna().all()
    assert "–" in printed(table)[0]


def namesakes(cells: pd.DataFrame) -> pd.DataFrame:
    twin = cells[cells["label"] == "25%"].assign(cell="twin", prune_method="wanda")
    return pd.concat([cells, twin], ignore_index=True)


@pytest.mark.parametrize(
    ("names", "why", "valid"),
    [
        (["dense", "5bit"], "no cell is called '5bit'", "25% + 4bit"),
        (["dense"], "two cells are needed, got 1", "dense"),
        (["dense", "dense"], "two cells are needed, got 1", "dense"),
        (["dense", "25%"], "'25%' means 2 cells", "twin"),
        (["dense", "4bit"], "no scores of the same documents", ""),
    ],
)
def test_what_cannot_be_laid_side_by_side_is_refused(
    make, names: list[str], why: str, valid: str
) -> None:
    found = make(cells=namesakes)
    with pytest.raises(BadInput) as refused:
        compared(found, names)
    assert why in str(refused.value)
    assert valid in str(refused.value)


def test_the_method_tells_namesakes_apart(make) -> None:
    assert keys(make(cells=namesakes), ["25% (wanda)", "dense"]) == ["twin", f"{MODEL}/dense"]


def test_cells_of_two_models_are_not_one_pair(make) -> None:
    one = make()
    cells = one.cells.copy()
    cells.loc[cells["label"] == "3bit", "model"] = "another"
    with pytest.raises(NotComparable, match="no model has both"):
        asked(panels(Results(cells=cells, scores=one.scores)), ["dense", "3bit"])
