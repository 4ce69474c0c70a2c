"""Refinement from text to files: better layers, on the grid, masks that hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from sweeper.modeling import checkpoint, masks
from sweeper.stages import calibration
from sweeper.stages.measure.tensors import Files

from .conftest import CALIBRATION

Rows = dict[str, dict[str, Any]]


def errors(out: Path) -> Rows:
    return {row["name"]: row for row in json.loads((out / "layer_errors.json").read_text())}


def mean(rows: Rows) -> float:
    return sum(row["error"] for row in rows.values()) / len(rows)


def tensors(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoint" / "model.safetensors")


def contained(out: Path, kept: dict[str, torch.Tensor]) -> bool:
    with Files(out / "checkpoint") as files:
        return all(bool(m.zero[~kept[m.name]].all()) for m in files.matrices())


@pytest.mark.parametrize(("mask", "bits"), [("keep", 3), ("ignore", 4), ("exact", 4)])
def test_a_refined_checkpoint_is_nearer_and_keeps_its_mask(
    workshop: Any, mask: str, bits: int
) -> None:
    pruned = workshop.prune(sparsity=0.5)
    plain = workshop.quantize(pruned, mask=mask, bits=bits)
    refined = workshop.quantize(pruned, mask=mask, bits=bits, refine=3)
    # the first layer has the same inputs either way
    first = {k: v for k, v in errors(plain).items() if "layers.0." in k}
    for name, row in first.items():
        assert errors(refined)[name]["error"] <= row["error"] * (1 + 1e-4)
    assert mean(errors(refined)) < mean(errors(plain))
    kept = masks.load(pruned / "mask")
    assert contained(refined, kept) == (mask != "ignore")
    # the grid is the one that was there
    scales = {k: v for k, v in tensors(plain).items() if k.endswith("weight_scale")}
    first_scales = {k: v for k, v in scales.items() if "layers.0." in k}
    assert first_scales
    for name, scale in first_scales.items():
        assert torch.equal(tensors(refined)[name], scale)


@pytest.mark.parametrize(
    ("method", "symmetric"), [("gptq", True), ("gptq", False), ("rtn", True), ("awq", False)]
)
def test_scales_are_fitted_too(workshop: Any, method: str, symmetric: bool) -> None:
    own = {"method": method, "symmetric": symmetric, "bits": 3}
    refined = workshop.quantize(**own, refine=2)
    both = workshop.quantize(**own, refine=2, rescale=True)
    one, two = errors(refined), errors(both)
    assert one.keys() == two.keys()
    name = next(n for n in one if "layers.0.self_attn.q_proj" in n)
    assert two[name]["error"] < one[name]["error"]
    changed = [
        not torch.equal(tensors(refined)[key], tensors(both)[key])
        for key in tensors(both)
        if key.endswith("weight_scale")
    ]
    assert all(changed)


@pytest.mark.parametrize("method", ["rtn", "awq"])
def test_rounding_to_nearest_is_where_it_begins(workshop: Any, method: str) -> None:
    pruned = workshop.prune(sparsity=0.25)
    plain = workshop.quantize(pruned, method=method, mask="keep")
    refined = workshop.quantize(pruned, method=method, mask="keep", refine=3)
    assert contained(refined, masks.load(pruned / "mask"))
    same, moved = 0, 0
    for key, codes in tensors(plain).items():
        if "layers.0." not in key:
            continue
        if key.endswith("weight_scale"):
            assert torch.equal(codes, tensors(refined)[key])
            same += 1
        elif key.endswith("weight_packed"):
            moved += int((codes != tensors(refined)[key]).any())
    assert same == moved == 7


def test_gptq_refined_is_nearer_than_nearest_refined_once(workshop: Any) -> None:
    nearest = errors(workshop.quantize(method="rtn", refine=1))
    gptq = errors(workshop.quantize(refine=3))
    assert mean(gptq) < mean(nearest)


def joint(workshop: Any, pattern: str, **more: Any) -> Path:
    sparsity = 0.25 if pattern in ("unstructured", "2:8") else 0.5
    return workshop.quantize(
        method="joint", mask="keep", sparsity=sparsity, pattern=pattern, **more
    )


@pytest.mark.parametrize("pattern", ["unstructured", "2:8"])
def test_swaps_change_the_mask_and_keep_its_counts(workshop: Any, pattern: str) -> None:
    plain = joint(workshop, pattern)
    refined = joint(workshop, pattern, refine=3)
    swapped = joint(workshop, pattern, refine=3, swaps=True)
    before, after = (masks.load(out / "mask") for out in (plain, swapped))
    first = [name for name in before if "layers.0." in name]
    assert any(not torch.equal(before[name], after[name]) for name in first)
    for name in first:
        assert torch.equal(before[name].sum(1), after[name].sum(1))
        if pattern != "unstructured":
            m = int(pattern[-1])
            groups = (~after[name]).unflatten(1, (-1, m)).sum(-1)
            assert (groups == 2).all()
    assert contained(swapped, after)
    assert torch.equal(masks.load(refined / "mask")[first[0]], before[first[0]])
    for name in first:
        assert errors(swapped)[name]["error"] <= errors(plain)[name]["error"] * (1 + 1e-4)
    total = [sum(errors(out)[n]["error"] for n in first) for out in (swapped, refined, plain)]
    assert total[0] < total[1] < total[2]


def test_the_label_of_a_refined_cell_is_proved(workshop: Any) -> None:
    out = joint(workshop, "2:8", refine=2, swaps=True, rescale=True)
    found = workshop.measure(out, sparsity=0.25, pattern="2:8", mask="keep", bits=4)
    assert found["containment"]["min"] == 1.0


@pytest.mark.parametrize(
    ("method", "pattern"),
    [("sparsegpt", "unstructured"), ("wanda", "2:4"), ("magnitude", "unstructured")],
)
def test_kept_weights_are_refitted(workshop: Any, method: str, pattern: str) -> None:
    own = {"method": method, "pattern": pattern, "sparsity": 0.5}
    plain, refined = workshop.prune(**own), workshop.prune(**own, refine=20)
    before, after = masks.load(plain / "mask"), masks.load(refined / "mask")
    first = [name for name in before if "layers.0.self_attn.q_proj" in name]
    assert torch.equal(before[first[0]], after[first[0]])
    name = f"{first[0]}.weight"
    assert not torch.equal(tensors(plain)[name], tensors(refined)[name])
    dense = load_file(workshop.dense / "model.safetensors")[name].float()
    inputs, _ = passed(workshop, workshop.dense, first[0])
    lost = [
        float((inputs @ (tensors(out)[name].float() - dense).t()).norm())
        for out in (plain, refined)
    ]
    assert lost[1] < (0.99 if method == "sparsegpt" else 0.9) * lost[0]


def passed(workshop: Any, model: Path, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What a matrix reads and gives for the calibration text, [tokens, columns or rows]."""
    job = workshop.job(
        {"calibration": CALIBRATION, "model": {}},
        sources={"calibration": workshop.text, "model": workshop.dense},
    )
    samples = calibration.of(job, checkpoint.tokenizer(workshop.dense))
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    seen: list[torch.Tensor] = []
    loaded.get_submodule(name).register_forward_hook(lambda _m, a, out: seen.extend([a[0], out]))
    with torch.no_grad():
        loaded(samples)
    return seen[0].flatten(0, 1), seen[1].flatten(0, 1)


def test_what_is_recorded_is_the_error_of_the_layer(workshop: Any) -> None:
    """Against the outputs themselves; the inputs of the first layer are those of the dense one."""
    out, name = workshop.quantize(bits=3), "model.layers.0.self_attn.q_proj"
    inputs, old = passed(workshop, workshop.dense, name)
    _, new = passed(workshop, out / "checkpoint", name)
    row = errors(out)[name]
    assert row["error"] == pytest.approx(float((new - old).norm() / old.norm()), rel=1e-3)
    assert row["energy"] == pytest.approx(float(old.square().sum() / len(old)), rel=1e-3)
    values = torch.linalg.eigvalsh((inputs.t() @ inputs).double())
    assert row["direction"] == pytest.approx(float(values[-1] / values.sum()), rel=1e-2)


def test_a_method_that_looks_at_no_hessian_records_none(workshop: Any) -> None:
    assert not (workshop.quantize(method="rtn") / "layer_errors.json").exists()
