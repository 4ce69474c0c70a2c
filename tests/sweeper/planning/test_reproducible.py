"""`reproducible=true`: float32 is meant and in the keys, kernels are wished for and are not."""

from __future__ import annotations

import pytest

from sweeper.errors import BadInput
from sweeper.planning import builder
from sweeper.planning.plan import Plan
from sweeper.planning.sweep import plan_json
from tests.composing import composed

GRID = ("quant.bits=16,4", "prune.sparsity=0,25", "tasks.limit=20")
FLOAT32 = ("model.compute_dtype=float32", "tasks.dtype=float32")


def plan_of(*words: str) -> Plan:
    own = [word for word in words if word.startswith(("reproducible", "cells"))]
    with composed(own) as (config, loader):
        return builder.plan(config, loader, [w for w in words if w not in own])


def test_it_is_float32_in_compression_and_scoring() -> None:
    made = plan_of(*GRID, "reproducible=true")
    assert any("takes several times as long" in note for note in made.notes)
    kinds = {stage.kind: stage.params for stage in made.stages.values()}
    assert {kinds[kind]["compute_dtype"] for kind in ("prune", "quantize")} == {"float32"}
    assert kinds["evaluate"]["dtype"] == "float32"
    assert kinds["prune"]["save_dtype"] == "bfloat16"
    assert {cell["config"]["tasks"]["dtype"] for cell in plan_json(made)["cells"]} == {"float32"}


def test_kernels_are_no_part_of_any_key() -> None:
    same, plain = plan_of(*GRID, *FLOAT32), plan_of(*GRID)
    made = plan_of(*GRID, "reproducible=true")
    assert list(made.stages) == list(same.stages)
    assert [cell.key for cell in made.cells] == [cell.key for cell in same.cells]
    shared = {made.stages[key].label for key in set(made.stages) & set(plain.stages)}
    assert shared <= {"smollm2-135m", "dense"}, "only what computes nothing is the same"
    assert {stage.record()["kernels"] for stage in made.stages.values()} == {"portable"}
    assert not any("kernels" in stage.record() for stage in same.stages.values())


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ((*GRID, "tasks.dtype=bfloat16"), "tasks.dtype"),
        ((*GRID, "model.compute_dtype=float32,bfloat16"), "model.compute_dtype"),
        (("cells=[{tasks.dtype:bfloat16}]",), "tasks.dtype"),
    ],
)
def test_another_precision_beside_it_is_refused(words: tuple[str, ...], key: str) -> None:
    with pytest.raises(BadInput, match=f"{key}.*reproducible=true.*Leave one of the two out"):
        plan_of(*words, "reproducible=true")
    plan_of(*GRID, *FLOAT32, "reproducible=true")


def test_the_demo_keeps_its_own_words_and_is_float32() -> None:
    with composed(["experiment=demo", "reproducible=true"]) as (config, loader):
        made = builder.plan(config, loader, [])
    assert len(made.cells) == 7
    assert {c.cell.tasks["dtype"] for c in made.cells} == {"float32"}
