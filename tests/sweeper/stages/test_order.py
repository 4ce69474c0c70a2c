"""Quantize, then prune: codes are kept, pruned weights are 0 on the grid that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from sweeper.modeling import checkpoint, masks
from sweeper.stages import prune
from sweeper.stages.measure.tensors import Files

from .conftest import PRUNE

SMOOTH = {"method": "smoothquant", "bits": 8, "activation_bits": 8, "smoothing": 0.5}
QUANTIZERS = [
    pytest.param({}, id="gptq"),
    pytest.param({"symmetric": False, "bits": 3}, id="gptq-asymmetric"),
    pytest.param({"method": "rtn", "bits": 2, "group_size": -1}, id="rtn"),
    pytest.param(SMOOTH, id="smoothquant"),
]


def after(workshop: Any, quantized: Path, **params: Any) -> Path:
    job = workshop.job(
        PRUNE | {"method": "wanda"} | params,
        inputs={"model": quantized},
        sources={"calibration": workshop.text},
    )
    workshop.results[job.out] = prune.run(job)
    return job.out


def matrices(out: Path) -> dict[str, Any]:
    with Files(out / "checkpoint") as files:
        return {matrix.name: matrix for matrix in files.matrices()}


@pytest.mark.parametrize("params", QUANTIZERS)
@pytest.mark.parametrize("pattern", ["unstructured", "1:3"])
def test_kept_codes_stay_and_pruned_weights_are_zero(
    workshop: Any, params: dict[str, Any], pattern: str
) -> None:
    quantized = workshop.quantize(**params)
    sparsity = 0.5 if pattern == "unstructured" else 1 / 3
    out = after(workshop, quantized, pattern=pattern, sparsity=sparsity)
    kept, before = masks.load(out / "mask"), matrices(quantized)
    for name, matrix in matrices(out).items():
        assert matrix.zero[~kept[name]].all(), name
        assert torch.equal(matrix.symbols[kept[name]], before[name].symbols[kept[name]]), name
        assert matrix.scale_bytes == before[name].scale_bytes
    label = {n: params[n] for n in ("activation_bits",) if n in params}
    found = workshop.measure(
        out, sparsity=sparsity, pattern=pattern, bits=params.get("bits", 4), mask="keep", **label
    )
    assert found["containment"] == {"min": 1.0, "mean": 1.0}
    # rounding had made zeros of its own: they are not what was pruned
    assert found["zeros"] >= found["achieved_sparsity"]
    assert workshop.results[out]["sparsity"] == pytest.approx(found["achieved_sparsity"])


@pytest.mark.parametrize("name", ["magnitude", "wanda"])
def test_the_saved_model_is_the_quantized_one_without_those_weights(
    workshop: Any, name: str
) -> None:
    quantized = workshop.quantize(symmetric=False)
    out = after(workshop, quantized, method=name, sparsity=0.5)
    expected = checkpoint.load(quantized / "checkpoint", dtype="bfloat16")
    for matrix, kept in masks.load(out / "mask").items():
        expected.get_submodule(matrix).weight.data *= kept
    ids = torch.arange(2, 42).reshape(1, -1)
    found = AutoModelForCausalLM.from_pretrained(out / "checkpoint", dtype=torch.bfloat16).eval()
    with torch.no_grad():
        assert torch.equal(found(ids).logits, expected(ids).logits)


def test_scores_are_taken_on_the_inputs_of_the_quantized_model(workshop: Any) -> None:
    quantized = workshop.quantize(bits=2)
    out, dense = (
        after(workshop, quantized, sparsity=0.5),
        workshop.prune(method="wanda", sparsity=0.5),
    )
    assert checkpoint.quantized_by(quantized / "checkpoint") == "compressed-tensors"
    assert checkpoint.quantized_by(workshop.dense) is None
    one, other = masks.load(out / "mask"), masks.load(dense / "mask")
    differ = torch.cat([(one[name] != other[name]).flatten() for name in one])
    assert 0.01 < differ.float().mean() < 0.5
