"""Several sweeps as one: cells once, tasks joined, different baselines refused."""

from __future__ import annotations

import pytest

from analysis.data.combining import together
from analysis.data.panel import panels
from analysis.data.results import BadResults


def test_one_sweep_is_itself(make) -> None:
    one = make()
    assert together({"a": one}) is one


def test_tasks_of_a_cell_are_joined(make) -> None:
    first = make(scores=lambda s: s[s["task"] != "facts"])
    second = make(scores=lambda s: s[s["task"] != "grammar"])
    both = together({"a": first, "b": second})
    assert len(both.cells) == len(first.cells)
    assert set(panels(both)[0].tasks) == {"arithmetic", "facts", "grammar", "topics"}


def test_a_cell_that_is_done_somewhere_is_done(make) -> None:
    undone = make(cells=lambda c: c.assign(status="missing", reason="not done yet"))
    both = together({"a": undone, "b": make()})
    assert set(both.cells["status"]) == {"done"}


def test_the_first_named_decides_between_two_scores(make) -> None:
    low = make(scores=lambda s: s.assign(value=s["value"] / 2))
    both = together({"low": low, "high": make()})
    assert both.scores["value"].max() == low.scores["value"].max()


def test_models_of_two_sweeps_stand_beside_each_other(make) -> None:
    both = together({"a": make(), "b": make(model="Other")})
    assert [panel.model for panel in panels(both)] == ["Other", "SmolLM2-135M"]


def test_two_baselines_of_one_model_are_refused(make) -> None:
    def renamed(frame):
        return frame.assign(cell=frame["cell"] + "/b")

    other = make(cells=renamed, scores=renamed)
    with pytest.raises(BadResults, match="the sweeps a and b have different dense baselines of Sm"):
        together({"a": make(), "b": other})
