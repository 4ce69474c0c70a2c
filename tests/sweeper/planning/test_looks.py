"""A sweep that grows: one cell a checkpoint, the newest settings of each task, nothing lost."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.planning.sweep import merge
from sweeper.results import outcomes, tables
from tests import tracking_data as data

Json = dict[str, Any]


def plan(
    created: int,
    limit: int,
    grid: tuple[Json, ...] = data.GRID[:2],
    tasks: tuple[str, ...] = data.TASKS,
) -> Json:
    """A plan that asks `limit` documents of these tasks."""
    made: Json = copy.deepcopy(data.record(grid))
    made["created"] = f"2026-01-01T00:00:{created:02d}"
    renamed = {}
    for key, spec in list(made["stages"].items()):
        if spec["kind"] == "evaluate":
            spec["params"]["limit"] = limit
            spec["key"] = renamed[key] = f"{key}-{limit}"
            made["stages"][spec["key"]] = made["stages"].pop(key)
    for cell in made["cells"]:
        own = cell["stages"]["evaluate"]
        cell["stages"]["evaluate"] = {task: renamed[own[task]] for task in tasks}
        cell["key"] += f"-{limit}-{'+'.join(tasks)}"
    return made


def looks(cell: Json) -> dict[str, str]:
    return {task: key.rpartition("-")[2] for task, key in cell["stages"]["evaluate"].items()}


def test_a_larger_limit_has_one_dense_baseline_and_keeps_the_earlier_look() -> None:
    first, second = plan(1, 20), plan(2, 40)
    grown = merge([second, first])
    assert [cell["label"] for cell in grown["cells"]] == ["dense", "25%"]
    assert all(set(looks(cell).values()) == {"40"} for cell in grown["cells"])
    before = {cell["key"]: cell["stages"]["evaluate"] for cell in first["cells"]}
    assert {k: v for cell in grown["cells"] for k, v in cell["earlier"].items()} == before
    assert grown["superseded"] == sorted(before)
    assert all(key in grown["stages"] for tasks in before.values() for key in tasks.values())
    store = data.FakeStore()
    data.fill(store, grown)
    found = outcomes.collect(grown, store)
    assert {outcome.status for outcome in found} == {"done"}
    assert len(tables.results(found).cells) == 2  # refused with two baselines


def test_what_was_asked_at_other_looks_is_recorded_and_reaches_the_tables() -> None:
    """A test that is made now is one of several, whichever way the sweep went."""
    grown = merge([plan(1, 20), plan(2, 80), plan(3, 40)])
    tasks = data.TASKS
    assert all(cell["looks"] == {task: [20, 40] for task in tasks} for cell in grown["cells"])
    store = data.FakeStore()
    data.fill(store, grown)
    found = tables.results(outcomes.collect(grown, store))
    assert set(found.scores["looks"]) == {"20 40"}
    assert "looks" not in merge([plan(1, 20)])["cells"][0]


def test_a_look_in_another_manner_is_no_look_at_these_documents() -> None:
    first, second = plan(1, 20), plan(2, 40)
    for spec in first["stages"].values():
        if spec["kind"] == "evaluate":
            spec["params"]["num_fewshot"] = 5
    assert not any("looks" in cell for cell in merge([first, second])["cells"])


def test_a_task_that_only_an_earlier_plan_names_stays() -> None:
    grown = merge([plan(1, 20, tasks=("cloze",)), plan(2, 40, tasks=("capitals",))])
    assert [looks(cell) for cell in grown["cells"]] == [{"cloze": "20", "capitals": "40"}] * 2


def test_a_cell_that_has_earlier_looks_alone_is_not_done() -> None:
    """Its scores and the others' would be of different settings."""
    first, second = plan(1, 20), plan(2, 40, data.GRID[:1])
    grown = merge([first, second])
    store = data.FakeStore()
    data.fill(store, first)
    data.fill(store, second)
    dense, pruned = outcomes.collect(grown, store)
    assert (dense.status, pruned.status) == ("done", "missing")
    assert "scored with earlier settings only: capitals, cloze, perplexity" in pruned.reason
    assert not pruned.scores


def test_cells_that_one_plan_compares_stay_side_by_side() -> None:
    one, other = plan(1, 20), plan(1, 40)
    both = {
        **one,
        "cells": one["cells"] + other["cells"],
        "stages": one["stages"] | other["stages"],
    }
    by_key = {cell["key"]: cell for cell in both["cells"]}
    assert {cell["key"]: cell for cell in merge([both])["cells"]} == by_key
    assert merge([both])["superseded"] == []


@pytest.mark.parametrize("again", [1, 2])
def test_a_plan_twice_is_that_plan(again: int) -> None:
    one = plan(1, 20)
    assert merge([one, plan(again, 20)])["cells"] == one["cells"]


@given(st.lists(st.sampled_from([10, 20, 40, 80]), min_size=1, max_size=4))
def test_the_newest_settings_whatever_came_before(limits: list[int]) -> None:
    grown = merge([plan(n, limit) for n, limit in enumerate(limits)])
    assert len(grown["cells"]) == 2
    assert all(set(looks(cell).values()) == {str(limits[-1])} for cell in grown["cells"])
    others = {limit for limit in limits if limit != limits[-1]}
    assert len(grown["superseded"]) == 2 * len(others)
