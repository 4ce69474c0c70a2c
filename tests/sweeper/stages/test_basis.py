"""The stages that change a model's basis, and pruning and quantization in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from sweeper.errors import StageFailure
from sweeper.methods.invariance import logits
from sweeper.modeling import checkpoint
from sweeper.stages import Job, measure, quantize, rescale, rotate
from sweeper.stages.prune import stage as prune
from tests import tiny

from .conftest import PRUNE, QUANTIZE

RESCALE = {"method": "random", "seed": 0, "spread": 1.5, "model": {}}
ROTATE = {"method": "hadamard", "seed": 0, "block_size": None, "model": {}}


def made(kind: Any, source: Path, out: Path, dtype: str = "float32") -> dict[str, Any]:
    out.mkdir()
    params = (RESCALE if kind is rescale else ROTATE) | {"save_dtype": dtype}
    result: dict[str, Any] = kind.run(
        Job(params=params, out=out, scratch=out, sources={"model": source})
    )
    return result


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [(rescale, "llama"), (rescale, "gemma3_text"), (rotate, "llama"), (rotate, "qwen3")],
)
def test_plain_transformers_computes_the_same(tmp_path: Path, kind: Any, architecture: str) -> None:
    dense = tiny.architecture(
        tmp_path / "dense", architecture, dtype="float32", tie_word_embeddings=True
    )
    result = made(kind, dense, tmp_path / "out")
    models = [
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        for folder in (dense, tmp_path / "out" / "checkpoint")
    ]
    assert type(models[0]) is type(models[1])
    assert logits.difference(*map(logits.of, models)) < 1e-4
    assert result["logits_changed"] < 1e-4
    assert result["logits_rounded"] < 1e-4
    own = checkpoint.tokenizer(tmp_path / "out" / "checkpoint")
    assert own("the fox")["input_ids"] == checkpoint.tokenizer(dense)("the fox")["input_ids"]


def test_what_rounding_costs_is_told(tmp_path: Path) -> None:
    dense = tiny.architecture(tmp_path / "dense", "llama", tie_word_embeddings=True)
    result = made(rotate, dense, tmp_path / "out", "bfloat16")
    assert result["logits_changed"] < 1e-5 < result["logits_rounded"] < 0.05
    assert result["untied"]
    stored = load_file(tmp_path / "out" / "checkpoint" / "model.safetensors")
    assert {"lm_head.weight", "model.embed_tokens.weight"} <= set(stored)
    assert not torch.equal(stored["lm_head.weight"], stored["model.embed_tokens.weight"])


def test_gemma_is_not_rotated(tmp_path: Path) -> None:
    dense = tiny.architecture(tmp_path / "dense", "gemma3_text")
    with pytest.raises(StageFailure, match="post_attention_layernorm"):
        made(rotate, dense, tmp_path / "out")


def test_masks_and_patterns_hold_in_the_rotated_basis(tmp_path: Path) -> None:
    dense = tiny.architecture(tmp_path / "dense", "llama", tie_word_embeddings=True)
    text = tiny.text(tmp_path / "text.txt")
    made(rotate, dense, tmp_path / "rotated", "bfloat16")
    amount = {"sparsity": 0.25, "pattern": "2:8"}

    def run(kind: Any, params: dict[str, Any], name: str, **inputs: Path) -> dict[str, Any]:
        out = tmp_path / name
        out.mkdir()
        sources = {"calibration": text}
        job = Job(params=params, out=out, scratch=out, inputs=inputs, sources=sources)
        found: dict[str, Any] = kind.run(job)
        return found

    run(prune, PRUNE | amount, "pruned", model=tmp_path / "rotated")
    run(quantize, QUANTIZE | {"mask": "keep"}, "quantized", model=tmp_path / "pruned")
    own = {"bits": 4, "group_size": 64, "symmetric": True, "mask": "keep", "model": {}}
    found = run(
        measure,
        amount | own,
        "measured",
        model=tmp_path / "quantized",
        pruned=tmp_path / "pruned",
    )
    assert found["containment"] == {"min": 1, "mean": 1}
    assert found["nm_valid"] == 1
    assert found["achieved_sparsity"] == pytest.approx(0.25)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "quantized" / "checkpoint")
    assert torch.isfinite(logits.of(loaded)).all()
