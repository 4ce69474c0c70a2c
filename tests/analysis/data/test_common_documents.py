"""Scores are divided only on the same documents: all, those in common, or none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.comparison.verdicts import verdicts
from analysis.data.common_documents import alike
from analysis.data.documents import Documents
from analysis.data.panel import panels
from analysis.data.results import Results
from tests.analysis.simulated import answers, likelihoods, results

N = 40


def cut(made: Results, cell: str, keep, *, documents: bool = True, **scores) -> Results:
    """The results with one cell imported that answered some documents only (all tasks)."""
    tables, rows = dict(made.documents.sources), made.scores.copy()
    for (own, task), table in made.documents.sources.items():
        if own != cell:
            continue
        part = table[np.asarray(keep(table["doc_id"]))]
        at = rows.index[(rows["cell"] == cell) & (rows["task"] == task)][0]
        if "acc" in part:
            rows.loc[at, "value"] = part["acc"].mean()
        else:
            sums = part["word_perplexity.sum"].sum(), part["word_perplexity.weight"].sum()
            rows.loc[at, "value"] = np.exp(-sums[0] / sums[1])
        rows.loc[at, "n"] = len(part)
        for name, value in scores.items():
            rows.loc[at, name] = value
        tables[own, task] = part.reset_index(drop=True)
        if not documents:
            del tables[own, task]
    cells = made.cells.assign(origin=np.where(made.cells["cell"] == cell, "imported from x", ""))
    return Results(cells=cells, scores=rows, documents=Documents(tables))


@pytest.fixture
def made() -> Results:
    rng = np.random.default_rng(1)
    return results({"t": answers(rng, (0.8, 0.6, 0.6), N)})


def test_equal_documents_change_nothing(made) -> None:
    same = cut(made, "c1", lambda i: i >= 0)
    assert alike(same).scores.equals(same.scores)
    assert (panels(same)[0].gap == "").all()


def test_those_in_common_count_and_it_is_said(made) -> None:
    """The baseline and the third cell were asked all, the import every fourth not."""
    (panel,) = panels(cut(made, "c1", lambda i: i % 4 != 3))
    kept = np.arange(N) % 4 != 3
    for row, cell in enumerate(panel.cells["cell"]):
        whole = made.documents.sources[cell, "t"]["acc"].to_numpy(float)
        assert panel.value[row, 0] == pytest.approx(whole[kept].mean())
        assert panel.n[row, 0] == kept.sum()
        said = f"on the {kept.sum()} documents that all cells answered, of its {N}"
        assert panel.remark[row, 0] == ("" if cell == "c1" else said)
    assert (panel.gap == "").all()
    assert verdicts(panel)[0].pairs[0].paired


def test_too_few_in_common_set_the_odd_one_apart(made) -> None:
    """The first of the data set against the first of another order."""
    (panel,) = panels(cut(made, "c1", lambda i: i < N // 4))
    row = list(panel.cells["cell"]).index("c1")
    assert (
        panel.gap[row, 0] == f"other documents than the baseline's: 10 of its {N} are among "
        "these 10"
    )
    others = [r for r in range(3) if r != row]
    assert (panel.gap[others] == "").all()
    assert panel.n[others, 0].tolist() == [N, N]


@pytest.mark.parametrize(
    ("mine", "theirs", "joins"),
    [
        ("all documents", "all documents", True),
        ("all documents", "the first 40 of x", False),
        ("", "all documents", False),
        ("the first 40 of x", "all documents", False),
    ],
)
def test_without_hashes_both_sides_must_have_been_asked_alike(made, mine, theirs, joins) -> None:
    given = Results(
        cells=made.cells, scores=made.scores.assign(asked=theirs), documents=made.documents
    )
    (panel,) = panels(cut(given, "c1", lambda i: i >= 0, documents=False, asked=mine))
    row = list(panel.cells["cell"]).index("c1")
    assert (panel.gap[row, 0] == "") == joins
    assert joins or "which documents these are is not known" in panel.gap[row, 0]


def test_a_score_without_hashes_does_not_join_a_part(made) -> None:
    """Once the baseline counts fewer documents, a score of all of them is another thing."""
    part = cut(made, "c1", lambda i: i % 4 != 3)
    sources = {k: v for k, v in part.documents.sources.items() if k[0] != "c2"}
    (panel,) = panels(Results(cells=part.cells, scores=part.scores, documents=Documents(sources)))
    row = list(panel.cells["cell"]).index("c2")
    assert "which documents it was asked is not known" in panel.gap[row, 0]


def test_perplexities_and_their_errors_on_a_part() -> None:
    rng = np.random.default_rng(2)
    whole = results({"p": likelihoods(rng, (2.0, 2.2, 2.3), N)})
    (panel,) = panels(cut(whole, "c1", lambda i: i % 8 != 7))
    table = whole.documents.sources["c0", "p"]
    part = table[np.arange(N) % 8 != 7]
    sums, words = part["word_perplexity.sum"], part["word_perplexity.weight"]
    value = np.exp(-sums.sum() / words.sum())
    assert panel.value[0, 0] == pytest.approx(value)
    residual = sums - sums.sum() / words.sum() * words
    n = len(part)
    error = value * np.sqrt((residual**2).sum() * n / (n - 1)) / words.sum()
    assert panel.stderr[0, 0] == pytest.approx(error, rel=0.02)


def test_what_was_made_in_one_place_is_not_read(made, monkeypatch) -> None:
    def never(*_: object) -> pd.DataFrame:
        raise AssertionError("documents were read")

    monkeypatch.setattr(Documents, "table", never)
    assert alike(made) is made
