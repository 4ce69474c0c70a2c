"""What a sweep may lack or mix up: a message or a marked gap, never a silent number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis.comparison.summary import summarise
from analysis.data.panel import Panel, panels
from analysis.data.results import BadResults
from analysis.report.findings import findings

Change = Callable[[pd.DataFrame], pd.DataFrame]


def at(cell: str, task: str, **values: object) -> Change:
    """Sets columns of one score."""

    def changed(scores: pd.DataFrame) -> pd.DataFrame:
        row = scores["cell"].str.endswith(f"/{cell}") & (scores["task"] == task)
        assert row.sum() == 1
        scores = scores.astype(object)
        for column, value in values.items():
            scores.loc[row, column] = value
        return scores

    return changed


def without(cell: str, task: str) -> Change:
    return lambda s: s[~(s["cell"].str.endswith(f"/{cell}") & (s["task"] == task))]


def gap_of(panel: Panel, label: str, task: str) -> str:
    row = list(panel.cells["label"]).index(label)
    return str(panel.gap[row, panel.tasks.index(task)])


@pytest.mark.parametrize(
    ("change", "cell", "said"),
    [
        (without("4bit", "facts"), "4bit", "not scored"),
        (at("4bit", "facts", value=float("nan")), "4bit", "the score is not a finite number"),
        (at("4bit", "facts", value=float("inf")), "4bit", "the score is not a finite number"),
        (at("4bit", "facts", version="2"), "4bit", "task version 2 against the baseline's 1"),
        (
            at("4bit", "facts", metric="acc_norm"),
            "4bit",
            "metric acc_norm against the baseline's acc",
        ),
        (
            lambda s: at("4bit", "facts", backend="vllm")(s.assign(backend="hf")),
            "4bit",
            "backend vllm against the baseline's hf",
        ),
        (at("dense", "facts", value=0.0), "4bit", "the baseline is 0"),
        (without("dense", "facts"), "4bit", "the baseline has no score"),
        (
            at("dense", "facts", value=float("nan")),
            "4bit",
            "the baseline's score is not a finite number",
        ),
    ],
)
def test_a_score_that_cannot_be_compared_is_a_gap_with_its_reason(make, change, cell, said) -> None:
    (panel,) = panels(make(scores=change))
    assert gap_of(panel, cell, "facts") == said
    row = list(panel.cells["label"]).index(cell)
    assert np.isnan(panel.retentions().value[row, panel.tasks.index("facts")])


def test_a_cell_with_a_gap_in_a_counted_task_has_no_sr_and_says_why(make) -> None:
    table = summarise(panels(make(scores=without("4bit", "facts")))).set_index("label")
    assert np.isnan(table.loc["4bit", "sr2"])
    assert np.isnan(table.loc["4bit", "sr1"])
    assert table.loc["4bit", "why"] == "facts: not scored"
    assert np.isfinite(table.loc["3bit", "sr2"])


def test_cells_without_sr_for_one_reason_are_named_together(make) -> None:
    (panel,) = panels(make(scores=at("dense", "facts", value=0.0)))
    (said,) = [one for one in findings(panel).warnings if "without Sr" in one]
    assert "(facts: the baseline is 0)" in said
    assert "; 4bit; " in said
    assert " more." in said


def test_a_backend_that_is_not_said_is_no_contradiction(make) -> None:
    (panel,) = panels(make(scores=at("4bit", "facts", backend="hf")))
    assert gap_of(panel, "4bit", "facts") == ""


def test_without_a_dense_cell_every_score_is_a_gap(make) -> None:
    (panel,) = panels(make(cells=lambda c: c[c["label"] != "dense"]))
    assert set(panel.gap.ravel()) == {"no dense baseline"}
    assert np.isnan(panel.sr2().value).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cells": lambda c: pd.concat([c, c.tail(1)])}, "duplicate cells: cell="),
        ({"scores": lambda s: pd.concat([s, s.tail(1)])}, "duplicate scores: cell="),
        (
            {"cells": lambda c: pd.concat([c, c.head(1).assign(cell="other")])},
            "a model has one dense baseline",
        ),
    ],
)
def test_what_appears_twice_is_refused(make, changes, said) -> None:
    with pytest.raises(BadResults, match=said):
        make(**changes)


def test_a_mask_that_was_kept_exactly_is_a_mask() -> None:
    """`quant.mask=exact` is a choice of the configuration: its cells have a report too."""
    from analysis.data import results
    from sweeper.planning.cells.quantization import MASKS

    assert set(MASKS) <= set(results.MASKS)
