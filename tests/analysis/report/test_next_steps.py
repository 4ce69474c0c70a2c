"""Where tasks break, which answers could not be read, and what to run next."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.data.panel import panels
from analysis.report.next_steps import documents_needed, next_table
from analysis.report.task_breakdown import answers_table, heat_maps
from analysis.statistics.sequential import EXPECTED_SPREAD, mixture_boundary, mixture_rho
from tests.analysis.curves.test_measured_curves import sweep
from tests.analysis.simulated import answers, panel


def test_answers_that_could_not_be_read_are_told_from_wrong_ones(make) -> None:
    made = make(
        scores=lambda s: s.assign(unextracted=s["n"].where(s["task"] == "arithmetic") * 0.2)
    )
    rows = answers_table(panels(made)).rows.set_index("label")
    one = rows.loc["4bit"]
    assert (one["right"], one["unread"]) == pytest.approx((0.55, 0.2))
    assert one["wrong"] == pytest.approx(0.25)
    assert one["of_read"] == pytest.approx(0.55 / 0.8)
    assert answers_table(panels(make())).rows.empty


def test_a_map_of_every_task_and_cell(make) -> None:
    (drawn,) = heat_maps(panels(make()))
    assert drawn.name == "heat_map_SmolLM2-135M"
    assert list(heat_maps([panel({"a": answers(np.random.default_rng(1), (0.8, 0.7), 50)})])) == []


def test_ties_say_how_many_documents_would_decide_them(make) -> None:
    found = panels(make(cells=lambda c: c.assign(seconds=3600.0)))
    rows = next_table(found).rows
    tie = rows[rows["run"].str.contains("times the documents")].iloc[0]
    assert "which of the two is better at" in tie["decides"]
    assert tie["hours"] > 0
    assert rows["run"].str.contains("more calibration seeds of").any()


def test_the_documents_asked_for_do_decide() -> None:
    """Power by simulation: with as many documents the pair is told apart about 80 % of times."""
    z, stderr = 1.4, 0.01
    for family in (1, 10):
        more = documents_needed(-z, stderr, family)
        draws = np.random.default_rng(2).normal(z * np.sqrt(more), 1, 20_000)
        level = mixture_boundary(stderr**2 / more, 0.05 / family, mixture_rho(EXPECTED_SPREAD))
        assert (draws > level).mean() == pytest.approx(0.8, abs=0.01)
    assert documents_needed(-z, stderr, 10) > documents_needed(-z, stderr, 1) > 1
    assert documents_needed(0.0, stderr, 3) == np.inf


def test_missing_cells_and_transitions(make) -> None:
    def gone(cells):
        return cells.assign(
            status=["missing" if x == "2:8" else "done" for x in cells["label"]],
            reason="",
            seconds=1800.0,
        )

    rows = next_table(panels(make(cells=gone))).rows
    (missing,) = rows[rows["run"] == "2:8"].to_dict("records")
    assert missing["hours"] == pytest.approx(0.5)
    assert not next_table(panels(sweep())).rows["run"].str.contains("sparsity").any()
