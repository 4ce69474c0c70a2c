"""tasks.reruns: cells of their own for the dense model, and evaluations that are really made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.comparison.noise_floor import noise_table
from sweeper.errors import BadInput
from sweeper.planning import builder
from sweeper.planning.plan import Plan
from sweeper.planning.sweep import nested, plan_json
from sweeper.results import outcomes as cell_outcomes
from sweeper.results import tables
from sweeper.results.mlflow import parameters as run
from sweeper.store.store import Store
from sweeper.worker.runner import run_stage
from tests import tiny
from tests.composing import composed

MakePlan = Callable[..., Plan]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("own") / "model")


@pytest.fixture
def plan(model: Path) -> MakePlan:
    def make(*overrides: str) -> Plan:
        own = [
            "model=custom",
            f"model.id={model}",
            "model.name=tiny",
            "model.group_size=32",
            "tasks.names=[demo_agreement,demo_pydoc]",
            "tasks.limit=20",
            "quant=rtn",
        ]
        with composed([]) as (config, loader):
            return builder.plan(config, loader, [*own, *overrides])

    return make


def test_the_dense_cell_alone_is_scored_again(plan: MakePlan) -> None:
    before = plan("quant.bits=16,4", "prune.sparsity=0")
    after = plan("quant.bits=16,4", "prune.sparsity=0", "tasks.reruns=2")
    labels = [cell.label for cell in after.cells]
    assert sorted(labels) == ["RTN 4bit", "dense", "dense (rerun 1)", "dense (rerun 2)"]
    keys = {cell.label: cell.key for cell in after.cells}
    assert len(set(keys.values())) == 4
    assert all(keys[cell.label] == cell.key for cell in before.cells)  # nothing is scored anew
    assert set(before.stages) < set(after.stages)
    tasks = {c.label: c.tasks["demo_pydoc"] for c in after.cells if c.label.startswith("dense")}
    assert len({stage.family for stage in tasks.values()}) == 3  # no answer is taken over
    swept = plan("quant.bits=4,16", "prune.sparsity=0", "tasks.reruns=0,2")
    assert {cell.label: cell.key for cell in swept.cells} == keys  # an axis adds no other cells


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["quant.bits=16", "tasks.reruns=-1"], "0 or more"),
        (["quant.bits=4", "tasks.reruns=1"], "dense cell of tiny .* not in this plan"),
        (["quant.bits=16", "tasks.reruns=1", "tasks.names=[]"], "scores nothing"),
    ],
)
def test_what_cannot_be_scored_again_is_refused(
    plan: MakePlan, overrides: list[str], reason: str
) -> None:
    with pytest.raises(BadInput, match=reason):
        plan("prune.sparsity=0", *overrides)


def test_from_the_plan_to_the_noise_floor(plan: MakePlan, tmp_path: Path) -> None:
    made = plan_json(plan("quant.bits=16", "prune.sparsity=0", "tasks.reruns=1"))
    store = Store(tmp_path / "home")
    record = {"name": "n", "cells": made["cells"], "stages": nested(made["stages"])}
    for spec in record["stages"].values():
        run_stage(spec, store)
    outcomes = cell_outcomes.collect(record, store)
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    assert [result["adopted"] for o in outcomes for result in o.scores.values()] == [0] * 4
    table = noise_table(tables.results(outcomes)).rows
    assert sorted(table["task"]) == ["demo_agreement", "demo_pydoc"]
    assert set(table["difference"]) == {0.0}  # one thread of one CPU
    assert list(table["n"]) == [20, 20]


def test_mlflow_tells_a_rerun_from_its_dense_cell(plan: MakePlan) -> None:
    cells = plan_json(plan("quant.bits=16", "prune.sparsity=0", "tasks.reruns=1"))["cells"]
    assert [run.parameters(cell).get("rerun") for cell in cells] == [None, "1"]
