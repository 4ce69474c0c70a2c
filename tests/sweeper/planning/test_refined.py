"""Plans with refinement: what is off leaves no trace, what is on is in key, label and cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sweeper.errors import BadInput
from sweeper.planning import builder
from sweeper.planning.plan import Plan, Stage
from tests import tiny
from tests.composing import composed


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [*tiny.overrides(tmp_path_factory.mktemp("own")), "tasks=none"]


@pytest.fixture
def plan(own: list[str]) -> Callable[..., Plan]:
    def make(*overrides: str) -> Plan:
        with composed([]) as (config, loader):
            return builder.plan(config, loader, [*own, *overrides])

    return make


def stage(made: Plan, label: str, kind: str) -> Stage:
    return next(cell for cell in made.cells if cell.label == label).stages[kind]


def test_what_is_off_leaves_every_key_as_it_was(plan: Any) -> None:
    words = ["prune.sparsity=0,25", "quant.bits=16,4", "quant=gptq,rtn,awq"]
    off = ["quant.refine=0", "quant.rescale=false", "quant.swaps=false", "prune.refine=0"]
    plain = plan(*words)
    assert list(plain.stages) == list(plan(*words, *off).stages)
    for made in plain.stages.values():
        assert not {"refine", "rescale", "swaps"} & set(made.params)


def test_labels_say_what_was_done(plan: Any) -> None:
    made = plan(
        *("prune.sparsity=25", "quant.bits=4", "quant=gptq,rtn,joint"),
        *("quant.refine=0,3", "quant.rescale=false,true", "quant.swaps=false,true"),
    )
    assert {cell.label for cell in made.cells} == {
        "25% + 4bit",
        "25% + 4bit, refined",
        "25% + 4bit, refined with scales",
        "25% + RTN 4bit",
        "25% + RTN 4bit, refined",
        "25% + RTN 4bit, refined with scales",
        "25% + joint 4bit",
        "25% + joint 4bit, refined",
        "25% + joint 4bit, refined with scales",
        "25% + joint 4bit, refined with swaps",
        "25% + joint 4bit, refined with scales and swaps",
    }
    assert {cell.label for cell in plan("prune.sparsity=25", "prune.refine=20").cells} == {
        "25%, refined"
    }
    ignored = plan("prune.sparsity=25", "quant.bits=4", "quant.refine=3", "quant.mask=ignore")
    assert {cell.label for cell in ignored.cells} == {"25% + 4bit, refined (mask ignored)"}


def test_numbers_of_sweeps_are_cells_of_their_own(plan: Any) -> None:
    made = plan("quant.bits=4", "quant.refine=1,3")
    assert {cell.label for cell in made.cells} == {
        "4bit, refined [refine=1]",
        "4bit, refined [refine=3]",
    }


def test_a_method_without_calibration_has_one_only_where_it_is_refined(plan: Any) -> None:
    made = plan("quant=rtn", "quant.bits=4", "quant.refine=0,2")
    plain = stage(made, "RTN 4bit", "quantize").params
    refined = stage(made, "RTN 4bit, refined", "quantize").params
    assert "calibration" not in plain
    assert "dampening" not in plain
    assert refined["calibration"]["samples"] == 4
    assert refined["dampening"] == 0.01
    seeds = plan("quant=rtn", "quant.bits=4", "quant.refine=0,2", "calibration.seed=0,1")
    assert len(seeds.cells) == 3
    pruned = plan("prune=magnitude", "prune.sparsity=25", "prune.refine=0,20")
    assert "calibration" not in stage(pruned, "magnitude 25%", "prune").params
    assert "calibration" in stage(pruned, "magnitude 25%, refined", "prune").params


def test_a_sweep_costs_work(plan: Any) -> None:
    for method in ("gptq", "awq", "joint"):
        words = [f"quant={method}", "quant.bits=4", "prune.sparsity=25"]
        work = [
            stage.work
            for n in (0, 3, 6)
            for stage in [_quantized(plan(*words, f"quant.refine={n}"))]
        ]
        assert work[0] < work[1] < work[2]
    pruned = [plan("prune.sparsity=25", f"prune.refine={n}") for n in (0, 20)]
    work = [
        stage.work for made in pruned for stage in made.stages.values() if stage.kind == "prune"
    ]
    assert work[0] < work[1]


def _quantized(made: Plan) -> Stage:
    return next(stage for stage in made.stages.values() if stage.kind == "quantize")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("quant.refine=-1",), "quant.refine=-1: valid: 0 to 100 sweeps. 3 is usual."),
        (("quant.refine=101",), "quant.refine=101: valid: 0 to 100 sweeps"),
        (("quant.bits=16", "quant.refine=-1"), "quant.refine=-1: valid"),
        (("prune.refine=-2",), "prune.refine=-2: valid: 0 to 100 steps of conjugate gradients"),
        (("quant=nf4", "quant.refine=3"), "quant.refine=3: nf4's codes are quantiles"),
        (("quant=llm_int8", "quant.bits=8", "quant.refine=3"), "quant.refine=3: bitsandbytes"),
        (("quant=smoothquant", "quant.bits=8", "quant.refine=3"), "rounds the inputs too"),
        (("quant.refine=3", "quant.swaps=true"), "quant.swaps=True: a swap changes the mask"),
        (("quant=joint", "quant.swaps=true"), "quant.swaps=True: it is done beside the sweeps"),
        (("quant.rescale=true",), "quant.rescale=True: it is done beside the sweeps"),
        (("quant=joint", "prune.refine=20"), "valid is prune.refine=0"),
        (("prune=wanda", "prune.refine=20", "prune.order=last"), "off their grid"),
        (("prune=svd_llm", "prune.refine=20", "quant.group_size=-1"), "prune.refine=20: svd_llm"),
        (("quant=rtn", "quant.refine=3", "quant.dampening=0"), "quant.dampening=0"),
        (("prune=magnitude", "prune.refine=3", "prune.dampening=0"), "prune.dampening=0"),
    ],
)
def test_what_cannot_be_refined_is_refused_before_anything_starts(
    plan: Any, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(BadInput) as refused:
        plan("prune.sparsity=25", "quant.bits=4", *words)
    assert message in str(refused.value)


def test_in_a_grid_only_the_cells_that_cannot_be_are_left_out(plan: Any) -> None:
    made = plan(
        "prune.sparsity=25",
        "quant.bits=4",
        "quant=gptq,joint",
        "quant.refine=3",
        "quant.swaps=false,true",
    )
    assert [cell.label for cell in made.cells] == [
        "25% + 4bit, refined",
        "25% + joint 4bit, refined",
        "25% + joint 4bit, refined with swaps",
    ]
    assert any("a swap changes the mask" in drop.reason for drop in made.dropped)
