"""SVD-LLM and ASVD: the loss is that of the dropped singular values, the factors the best ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sweeper.methods import method
from sweeper.methods.hessian import NotPositiveDefinite
from sweeper.methods.low_rank.input_norms import scaling
from sweeper.methods.low_rank.rank import rank_of
from sweeper.methods.low_rank.svd import Factors, truncated, whitening

SHAPES = [(24, 40), (40, 24), (32, 32)]


def layer(rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight [rows, columns] and correlated inputs [tokens, columns] of uneven size."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(columns, columns)) * np.geomspace(0.05, 5, columns)
    inputs = rng.normal(size=(200, columns)) @ mixing
    return torch.tensor(rng.normal(size=(rows, columns))), torch.tensor(inputs)


def product(found: Factors) -> torch.Tensor:
    return found.outer @ found.inner


@pytest.mark.parametrize("rank", [1, 7, 20])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_on_the_inputs_is_that_of_the_dropped_singular_values(
    shape: tuple[int, int], rank: int
) -> None:
    weight, inputs = layer(*shape)
    scale = whitening(inputs.T @ inputs, 0.0)
    found = truncated(weight, scale, rank)
    dropped = np.linalg.svd((weight @ scale).numpy(), compute_uv=False)[rank:]
    on_inputs = ((product(found) - weight) @ inputs.T).square().sum()
    assert found.loss == pytest.approx((dropped**2).sum(), rel=1e-9)
    assert float(on_inputs) == pytest.approx((dropped**2).sum(), rel=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_factors_of_that_rank_lose_less(shape: tuple[int, int]) -> None:
    # what reduced-rank regression gives in closed form, and what a plain SVD would lose
    weight, inputs = layer(*shape)
    outputs = (inputs @ weight.T).numpy()
    _, values, right = np.linalg.svd(outputs, full_matrices=False)
    best = torch.tensor(right[:5].T @ right[:5]) @ weight
    found = truncated(weight, whitening(inputs.T @ inputs, 0.0), 5)
    assert torch.allclose(product(found), best, rtol=1e-5, atol=1e-7)
    assert found.loss == pytest.approx((values[5:] ** 2).sum(), rel=1e-9)
    plain = truncated(weight, torch.ones(shape[1]), 5)
    assert ((product(plain) - weight) @ inputs.T).square().sum() > 1.05 * found.loss


@pytest.mark.parametrize("shape", SHAPES)
def test_asvd_with_unit_scaling_is_the_plain_svd(shape: tuple[int, int]) -> None:
    weight, inputs = layer(*shape)
    unit = scaling(inputs.abs().mean(0), 0.0)
    assert torch.equal(unit, torch.ones(shape[1], dtype=torch.float64))
    left, values, right = np.linalg.svd(weight.numpy(), full_matrices=False)
    expected = left[:, :6] * values[:6] @ right[:6]
    found = truncated(weight, unit, 6)
    assert np.allclose(product(found), expected, atol=1e-9)
    assert found.loss == pytest.approx((values[6:] ** 2).sum(), rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_asvd_is_the_svd_of_the_scaled_matrix_taken_back(shape: tuple[int, int]) -> None:
    weight, inputs = layer(*shape)
    mean = inputs.abs().mean(0)
    scale = scaling(mean, 0.5).numpy()
    assert np.allclose(scale, mean.numpy() ** 0.5)
    left, values, right = np.linalg.svd(weight.numpy() * scale, full_matrices=False)
    expected = (left[:, :6] * values[:6] @ right[:6]) / scale
    assert np.allclose(product(truncated(weight, torch.tensor(scale), 6)), expected, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_at_full_rank_nothing_is_lost(shape: tuple[int, int]) -> None:
    weight, inputs = layer(*shape)
    for scale in (whitening(inputs.T @ inputs, 0.0), scaling(inputs.abs().mean(0), 0.5)):
        found = truncated(weight, scale, min(shape))
        assert torch.allclose(product(found), weight, atol=1e-6)
        assert found.loss == 0


def test_a_matrix_of_low_rank_is_found_again() -> None:
    weight, inputs = layer(24, 40)
    low = weight[:, :3] @ torch.randn(3, 40, dtype=torch.float64)
    found = truncated(low, whitening(inputs.T @ inputs, 0.0), 10)
    assert torch.allclose(product(found), low, atol=1e-6)
    assert torch.isfinite(found.inner).all()


def test_an_input_that_was_never_active_is_no_trouble() -> None:
    mean = torch.tensor([0.0, 0.5, 2.0])
    assert scaling(mean, 1.0).tolist() == [0.5, 0.5, 2.0]
    weight, inputs = layer(24, 40)
    inputs[:, 3] = 0
    gram = inputs.T @ inputs
    with pytest.raises(NotPositiveDefinite):
        whitening(gram, 0.0)
    found = truncated(weight, whitening(gram, 1e-6), 8)
    assert torch.isfinite(found.inner).all()


def test_a_gram_matrix_of_too_few_tokens_is_refused() -> None:
    _, inputs = layer(8, 40)
    few = inputs[:10].float()
    with pytest.raises(NotPositiveDefinite):
        whitening(few.T @ few, 1e-16)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.5, 0.9])
def test_a_rank_is_the_largest_that_keeps_to_the_share(share: float) -> None:
    for rows, columns in [(576, 576), (192, 576), (1536, 576), (64, 192)]:
        rank = rank_of(rows, columns, share)
        kept = (1 - share) * rows * columns
        assert rank * (rows + columns) <= kept * (1 + 1e-9) < (rank + 1) * (rows + columns)


@pytest.mark.parametrize("name", ["svd_llm", "asvd"])
def test_what_is_refused(name: str) -> None:
    shapes = {"model.layers.0.q_proj": (64, 64), "model.layers.0.k_proj": (2, 64)}
    params = {"sparsity": 0.2, "dampening": 1e-6, "alpha": 0.5, "shapes": shapes}
    how = method(name)
    assert how.refusal(params) is None
    refused = how.refusal(params | {"sparsity": 0.6})
    assert str(refused) == (
        "prune.sparsity=60: not even rank 1 is left of model.layers.0.k_proj. Remove less."
    )
    wrong = {"svd_llm": {"dampening": 0.0}, "asvd": {"alpha": -1.0}}[name]
    assert str(how.refusal(params | wrong)).startswith(f"prune.{next(iter(wrong))}=")
