"""Rescaling and rotation change weights and leave logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sweeper.errors import StageFailure
from sweeper.methods.invariance import hadamard, logits, rescaling, rotating, structure
from sweeper.modeling import checkpoint, matrices
from tests import tiny

EXACT = {"float64": 1e-6, "float32": 1e-4}
LIKE_LLAMA: dict[str, Any] = {
    "llama": {"tie_word_embeddings": True},
    "mistral": {"tie_word_embeddings": False},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 16, "tie_word_embeddings": True},
}
# with soft caps of attention, transformers takes a softmax in float32
LIKE_GEMMA: dict[str, Any] = {"gemma2": {"attn_logit_softcapping": None}, "gemma3_text": {}}
EPSILON = 1e-6


def model(folder: Path, kind: str, dtype: str, **own: Any) -> Any:
    """Random, with norms of all sizes and outliers in some channels."""
    tiny.architecture(folder, kind, dtype="float32", **own)
    found = checkpoint.load(folder, dtype="float32").to(getattr(torch, dtype))
    if dtype == "float64":
        for name, module in found.named_modules():
            if name.endswith("norm"):
                widen(module, offset=1.0 if "gemma" in kind else 0.0)
    with torch.no_grad():
        for index, (name, weight) in enumerate(found.named_parameters()):
            draws = torch.Generator().manual_seed(index)
            if "norm" in name:
                weight.add_(torch.randn(weight.shape, generator=draws), alpha=0.3)
                weight[3] += 20
            elif name.endswith("bias"):
                weight.add_(torch.randn(weight.shape, generator=draws), alpha=0.1)
    return found


def widen(norm: Any, *, offset: float) -> None:
    """transformers' norms compute in float32, whatever the precision of the model."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        mean = x.square().mean(-1, keepdim=True)
        return x * torch.rsqrt(mean + EPSILON) * (offset + norm.weight)

    norm.forward = forward


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("kind", [*LIKE_LLAMA, *LIKE_GEMMA])
def test_rescaling_leaves_the_logits(tmp_path: Path, kind: str, dtype: str) -> None:
    found = model(tmp_path, kind, dtype, **{**LIKE_LLAMA, **LIKE_GEMMA}[kind])
    before, weights = logits.of(found), {n: w.clone() for n, w in found.named_parameters()}
    rescaling.rescale(found, seed=0, spread=1.5)
    assert logits.difference(before, logits.of(found)) < EXACT[dtype]
    for name in matrices.listed(found).treated:
        weight = found.get_submodule(name).weight
        ratio = (weight / weights[f"{name}.weight"]).log().abs()
        assert ratio.max() <= 2 * torch.tensor(1.5).log() + 1e-4
        assert (ratio > 0.01).double().mean() > 0.9


def test_factors_are_those_of_the_seed(tmp_path: Path) -> None:
    one, same, other = (model(tmp_path / str(n), "llama", "float64") for n in range(3))
    for each, seed in ((one, 0), (same, 0), (other, 1)):
        rescaling.rescale(each, seed=seed, spread=1.5)
    name = matrices.listed(one).treated.__iter__().__next__()
    of = [each.get_submodule(name).weight for each in (one, same, other)]
    assert torch.equal(of[0], of[1])
    assert not torch.allclose(of[0], of[2])


@pytest.mark.parametrize("block", [None, 16])
@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("kind", LIKE_LLAMA)
def test_rotation_leaves_the_logits(
    tmp_path: Path, kind: str, dtype: str, block: int | None
) -> None:
    found = model(tmp_path, kind, dtype, **LIKE_LLAMA[kind])
    before, embedding = logits.of(found), found.get_input_embeddings().weight.clone()
    said = rotating.rotate(found, block_size=block, seed=0)
    assert logits.difference(before, logits.of(found)) < EXACT[dtype]
    assert said == {
        "width": 64,
        "block_size": block or 64,
        "head": 16,
        "untied": LIKE_LLAMA[kind]["tie_word_embeddings"],
    }
    # that something was rotated: a row is another, of the same length
    rows = found.get_input_embeddings().weight
    assert torch.allclose(rows.norm(dim=1), embedding.norm(dim=1), rtol=1e-4)
    assert (rows - embedding).norm() > 0.5 * embedding.norm()


def test_rotation_spreads_an_outlier(tmp_path: Path) -> None:
    found = model(tmp_path, "llama", "float64")
    layer = structure.layers(found)[0]
    plain = layer.linear["q_proj"].weight * layer.before_attention.gain

    def peak(weight: torch.Tensor) -> float:
        columns = weight.detach().norm(dim=0)
        return float(columns.max() / columns.mean())

    assert peak(plain) > 5
    rotating.rotate(found, block_size=None, seed=0)
    assert peak(structure.layers(found)[0].linear["q_proj"].weight) < 2


@pytest.mark.parametrize("kind", LIKE_GEMMA)
def test_norms_on_outputs_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    found = model(tmp_path, kind, "float32")
    with pytest.raises(StageFailure, match=r"layers\.0\.post_attention_layernorm"):
        rotating.rotate(found, block_size=None, seed=0)


@pytest.mark.parametrize("kind", ["phi3", "opt", "gpt_neox"])
def test_another_build_is_refused(tmp_path: Path, kind: str) -> None:
    found = model(tmp_path, kind, "float32")
    for change in (
        lambda: rescaling.rescale(found, seed=0, spread=1.5),
        lambda: rotating.rotate(found, block_size=None, seed=0),
    ):
        with pytest.raises(StageFailure, match="not built like Llama"):
            change()


def test_a_change_that_is_none_is_noticed(tmp_path: Path) -> None:
    found = model(tmp_path, "llama", "float32")

    before = logits.of(found)
    assert logits.require_same(before, found, "rotate") == 0
    norm = structure.layers(found)[0].before_attention
    norm.become(1.1 * norm.gain)
    with pytest.raises(StageFailure, match="changed the logits of LlamaForCausalLM"):
        logits.require_same(before, found, "rotate")


def test_widths_of_real_models_fit() -> None:
    assert all(map(hadamard.fits, (576, 640, 896, 1536, 4096)))
    assert not hadamard.fits(4100)
    assert hadamard.blocks(600) == [4, 8, 12, 20, 24, 40, 60, 100, 120, 200]


@given(st.sampled_from([(64, 64), (96, 24), (36, 36), (40, 8), (80, 20)]), st.integers(0, 99))
def test_a_rotation_is_orthogonal(sizes: tuple[int, int], seed: int) -> None:
    width, block = sizes
    turn = hadamard.rotation(width, block, seed)
    assert torch.allclose(turn @ turn.T, torch.eye(width, dtype=torch.float64), atol=1e-12)
    inside = torch.block_diag(*[torch.ones(block, block)] * (width // block)).bool()
    assert torch.allclose(turn[inside].abs(), torch.tensor(block**-0.5, dtype=torch.float64))
    assert not turn[~inside].any()
