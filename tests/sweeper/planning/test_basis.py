"""Cells on a rescaled base and in a rotated basis: labels, stages, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.errors import BadInput
from sweeper.planning.plan import Plan
from tests import tiny
from tests.planned import plan_of


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("llama") / "model")


def shown(plan: Plan) -> list[tuple[str, str]]:
    return [(cell.cell.model["name"], cell.label) for cell in plan.cells]


def stages(plan: Plan, kind: str) -> list[Any]:
    return [stage for stage in plan.stages.values() if stage.kind == kind]


def test_a_rescaled_model_is_a_base_of_its_own(llama: Path) -> None:
    plan = plan_of(llama, "model.name=m", "rescale=none,random", "prune.sparsity=0,25")
    assert shown(plan) == [
        ("m", "dense"),
        ("m", "25%"),
        ("m-off-grid", "dense"),
        ("m-off-grid", "25%"),
    ]
    (made,) = stages(plan, "rescale")
    assert [cell.cell.dense for cell in plan.cells] == [True, False, True, False]
    plain, moved = stages(plan, "prune")
    assert (dict(plain.parents), dict(moved.parents)) == ({}, {"model": made})
    assert made.params["seed"] == 0


def test_seeds_and_spreads_are_bases_of_their_own(llama: Path) -> None:
    plan = plan_of(llama, "model.name=m", "rescale=random", "rescale.seed=0,1", "quant.bits=4")
    assert [name for name, _ in shown(plan)] == ["m-off-grid", "m-off-grid-1"]
    plan = plan_of(llama, "model.name=m", "rescale=random", "rescale.spread=2", "quant.bits=4")
    assert [name for name, _ in shown(plan)] == ["m-off-grid-x2"]


def test_a_rotated_cell_is_another_of_the_same_model(llama: Path) -> None:
    words = ("model.name=m", "rotate=none,hadamard", "prune.sparsity=0,25", "quant.bits=4")
    plan = plan_of(llama, *words)
    assert shown(plan) == [
        ("m", "4bit"),
        ("m", "25% + 4bit"),
        ("m", "4bit (rotated)"),
        ("m", "25% + 4bit (rotated)"),
    ]
    assert len(stages(plan, "rotate")) == 1
    assert not any(cell.cell.dense for cell in plan.cells)


def test_a_rotated_base_can_be_rescaled_before(llama: Path) -> None:
    plan = plan_of(llama, "model.name=m", "rescale=random", "rotate=hadamard", "quant.bits=4")
    assert shown(plan) == [("m-off-grid", "4bit (rotated)")]
    (rescaled,), (rotated,), (quantized,) = (
        stages(plan, kind) for kind in ("rescale", "rotate", "quantize")
    )
    assert rotated.parents == {"model": rescaled}
    assert quantized.parents == {"model": rotated}


def test_errors_are_measured_in_the_basis_that_is_pruned(llama: Path) -> None:
    plan = plan_of(llama, "rotate=hadamard", "prune.sparsity=50", "prune.profile=allocated")
    (rotated,), (errors,) = stages(plan, "rotate"), stages(plan, "sensitivity")
    assert errors.parents == {"model": rotated}


def test_blocks_and_seeds_are_in_the_label(llama: Path) -> None:
    words = ("rotate=hadamard", "rotate.block_size=16", "rotate.seed=0,1", "quant.bits=4")
    labels = [label for _, label in shown(plan_of(llama, *words))]
    assert labels == [
        "4bit (rotated in blocks of 16)",
        "4bit (rotated in blocks of 16, seed 1)",
    ]


def test_the_rotated_dense_model_is_no_cell(llama: Path) -> None:
    plan = plan_of(llama, "rotate=hadamard", "quant.bits=16,4")
    assert len(plan.cells) == 1
    assert "the rotated model is the dense one" in plan.dropped[0].reason


def test_stages_without_a_basis_have_no_trace_of_it(llama: Path) -> None:
    plan = plan_of(llama, "quant.bits=4")
    assert {stage.kind for stage in plan.stages.values()} == {"quantize", "measure"}
    assert "basis" not in plan.cells[0].cell.model.dict


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rotate=hadamard", "rotate.block_size=24"], r"valid: 4, 8, 16, 32, 64 and null"),
        (["rotate=hadamard", "rotate.block_size=0"], r"rotate.block_size=0"),
        (["rescale=random", "rescale.spread=1"], r"rescale.spread=1.0: the largest factor"),
        (["rotate.method=spin"], r"rotate.method=spin: valid: none, hadamard"),
        (["rescale.method=some"], r"rescale.method=some: valid: none, random"),
    ],
)
def test_bad_input_is_refused(llama: Path, words: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        plan_of(llama, "quant.bits=4", *words)


def test_a_width_that_no_rotation_fits_is_told_which_blocks_do(tmp_path: Path) -> None:
    # 4 x 67 is an order of which compressed-tensors has no matrix
    folder = tiny.architecture(tmp_path / "model", "llama", hidden_size=268)
    with pytest.raises(BadInput, match=r"for a width of 268; valid: 4\."):
        plan_of(folder, "rotate=hadamard", "quant.bits=4", "quant.group_size=-1")


def test_gemma_is_rescaled_and_not_rotated(tmp_path: Path) -> None:
    folder = tiny.architecture(tmp_path / "model", "gemma3_text")
    assert len(plan_of(folder, "rescale=random", "quant.bits=4").cells) == 1
    with pytest.raises(BadInput, match=r"norms on what is added .*post_attention_layernorm"):
        plan_of(folder, "rotate=hadamard", "quant.bits=4")


@pytest.mark.parametrize("kind", ["rotate=hadamard", "rescale=random"])
def test_another_build_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    folder = tiny.architecture(tmp_path / "model", "phi3")
    with pytest.raises(BadInput, match=r"not built like Llama \(it has .*qkv_proj"):
        plan_of(folder, kind, "quant.bits=4")
