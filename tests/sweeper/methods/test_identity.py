"""Transformations that should change nothing are checked on the spot, with quantization off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.offload import set_onload_device
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from sweeper.errors import BadInput, StageFailure
from sweeper.methods.quantization import mappings
from sweeper.modeling import offload, trace
from sweeper.stages import Job, quantize
from tests import tiny
from tests.planned import plan_of

PARAMS: dict[str, Any] = {
    "bits": 8,
    "mask": "none",
    "model": {},
    "compute_dtype": "float32",
    "save_dtype": "bfloat16",
    "calibration": {"samples": 4, "length": 48, "seed": 0},
}
METHODS: dict[str, dict[str, Any]] = {
    "rtn": {"group_size": -1, "symmetric": True},
    "smoothquant": {"activation_bits": 8, "smoothing": 0.5},
    "awq": {"group_size": 32, "symmetric": True},
}
IDS = torch.arange(5, 101).reshape(2, 48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("identity")
    tiny.text(folder / "text.txt")
    for kind in ("gemma2", "gemma3_text", "gpt_neox", "opt", "bloom"):
        tiny.architecture(folder / kind, kind)
    return folder


def logits(path: Path, *, quantized: bool = False) -> torch.Tensor:
    how = {"quantization_config": CompressedTensorsConfig(dequantize=True)} if quantized else {}
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **how).float().eval()
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


def error(folder: Path, kind: str, method: str, out: Path) -> float:
    """Relative difference of the logits of a quantized model."""
    out.mkdir()
    sources = {"model": folder / kind, "calibration": folder / "text.txt"}
    params = {**PARAMS, "method": method, **METHODS[method]}
    quantize.run(Job(params=params, out=out, scratch=out, sources=sources))
    dense = logits(folder / kind)
    return float((logits(out / "checkpoint", quantized=True) - dense).norm() / dense.norm())


@pytest.mark.parametrize("kind", ["gemma2", "gemma3_text", "gpt_neox"])
@pytest.mark.parametrize("method", ["smoothquant", "awq"])
def test_what_is_moved_arrives_where_it_is_read(
    folder: Path, kind: str, method: str, tmp_path: Path
) -> None:
    """Gemma's norm after attention is read by no matrix, and its weights are stored less 1."""
    if (kind, method) == ("gpt_neox", "awq"):
        pytest.skip("llm-compressor has no mapping for it")
    plain = error(folder, kind, "rtn", tmp_path / "rtn")
    assert error(folder, kind, method, tmp_path / method) < 3 * plain < 0.3


def visiting(model: Any, device: str) -> Any:
    """As `offload.place` does it with a model that the GPU cannot hold."""
    return set_onload_device(model, torch.device(device))


@pytest.mark.parametrize("kind", ["gemma2", "gemma3_text"])
@pytest.mark.parametrize("method", ["smoothquant", "awq"])
def test_layers_that_visit_the_device_one_by_one_are_checked_alike(
    folder: Path, kind: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = error(folder, kind, method, tmp_path / "whole")
    monkeypatch.setattr(offload, "place", visiting)
    assert error(folder, kind, method, tmp_path / "visiting") == whole


@pytest.mark.parametrize("offloaded", [False, True])
def test_a_mapping_that_is_no_identity_fails_by_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offloaded: bool
) -> None:
    """As llm-compressor's table has it: Gemma taken for a Llama."""
    seen = trace.of

    def as_llama(model: Any) -> trace.Trace:
        found = seen(model)
        norms = {
            name.replace("pre_feedforward", "post_attention"): by
            for name, by in found.norms.items()
        }
        return replace(found, norms=norms)

    monkeypatch.setattr(trace, "of", as_llama)
    if offloaded:
        monkeypatch.setattr(offload, "place", visiting)
    with pytest.raises(StageFailure, match=r"smoothquant .* changed the outputs of model\.layers"):
        error(folder, "gemma2", "smoothquant", tmp_path / "out")


def test_scaling_over_what_is_not_linear_fails_by_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two feed-forward matrices of this one lies an activation."""
    from llmcompressor.modifiers.transform.awq import base

    wrong = base.AWQMapping("re:.*dense_h_to_4h$", ["re:.*dense_4h_to_h$"])
    monkeypatch.setattr(base, "get_layer_mappings_from_model", lambda _: [wrong])
    with pytest.raises(StageFailure, match=r"awq .* changed the outputs of gpt_neox\.layers"):
        error(folder, "gpt_neox", "awq", tmp_path / "out")


@pytest.mark.parametrize("kind", ["opt", "gpt_neox"])
def test_awq_without_a_mapping_is_refused_while_planning(folder: Path, kind: str) -> None:
    with pytest.raises(BadInput, match="llm-compressor knows no mapping for"):
        plan_of(folder / kind, "prune=none", "quant=awq", "quant.bits=4")


def test_the_table_of_mappings_is_the_one_that_is_imported() -> None:
    from llmcompressor.modifiers.transform.awq.dynamic_mappings import (
        AWQ_DYNAMIC_MAPPING_REGISTRY as DYNAMIC,
    )
    from llmcompressor.modifiers.transform.awq.mappings import AWQ_MAPPING_REGISTRY

    assert mappings.known() == {*AWQ_MAPPING_REGISTRY, *DYNAMIC}


def test_layers_whose_arguments_hold_each_sample_are_calibrated(
    folder: Path, tmp_path: Path
) -> None:
    """BLOOM gives its layers a bias of as many rows as there are samples."""
    assert error(folder, "bloom", "smoothquant", tmp_path / "out") < 0.3
