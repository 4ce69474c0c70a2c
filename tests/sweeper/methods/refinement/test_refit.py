"""The refit of kept weights: near exact least squares after 20 steps, never worse on the way."""

from __future__ import annotations

import pytest
import torch

from sweeper.methods.hessian import inverse_factor
from sweeper.methods.pruning.score_modifier import least, least_of_rows
from sweeper.methods.pruning.sparsegpt_modifier import sparsify
from sweeper.methods.refinement.refit import refit
from tests.sweeper.methods.layers import layer


def problem(seed: int, *, outlier: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A weight, its dampened Hessian, and what SparseGPT's layer errors are measured by.

    With ``outlier`` so much of the inputs' energy lies in one direction, as after a massive token.
    """
    weight, inputs = (part.double() for part in layer(24, 192, seed))
    if outlier:
        random = torch.Generator().manual_seed(seed)
        direction = torch.randn(192, generator=random, dtype=torch.float64)
        size = (outlier / (1 - outlier) * inputs.square().sum()).sqrt()
        inputs[0] += size * direction / direction.norm()
    hessian = 2 * inputs.t() @ inputs / len(inputs)
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(192, dtype=torch.float64)
    return weight, hessian, damped


def loss(found: torch.Tensor, weight: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    lost = found - weight
    return ((lost @ hessian) * lost).sum(1)


def exact(weight: torch.Tensor, kept: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Each row's least-squares weights on its support, by a factorization of its own."""
    found = torch.zeros_like(weight)
    for row, mask in enumerate(kept):
        of_kept = hessian[mask][:, mask]
        found[row, mask] = torch.linalg.solve(of_kept, (weight[row] @ hessian)[mask])
    return found


def masks(weight: torch.Tensor, hessian: torch.Tensor, how: str) -> torch.Tensor:
    if how == "magnitude":
        return ~least(weight.abs(), 0.5)
    if how == "wanda":
        return ~least_of_rows(weight.abs() * hessian.diagonal().sqrt(), 0.5)
    kept = torch.ones_like(weight, dtype=torch.bool)
    factor, _ = inverse_factor(hessian.clone(), 0.01)
    sparsify(weight.clone(), factor, sparsity=0.5, nm=None, block_size=64, matrices=[24], kept=kept)
    return kept


@pytest.mark.parametrize("outlier", [0.0, 0.9])
@pytest.mark.parametrize("how", ["magnitude", "wanda", "sparsegpt"])
def test_twenty_steps_are_near_exact_least_squares(how: str, outlier: float) -> None:
    for seed in range(3):
        weight, hessian, damped = problem(seed, outlier=outlier)
        kept = masks(weight, hessian, how)
        found = refit(weight * kept, weight, kept, damped, 20)
        least_squares = loss(exact(weight, kept, damped), weight, damped).sum()
        assert (found[~kept] == 0).all()
        assert loss(found, weight, damped).sum() <= (1 + 1e-3) * least_squares


def test_each_step_lowers_the_error_of_every_row() -> None:
    weight, hessian, damped = problem(0)
    kept = masks(weight, hessian, "wanda")
    before = loss(weight * kept, weight, damped)
    for steps in range(1, 12):
        now = loss(refit(weight * kept, weight, kept, damped, steps), weight, damped)
        assert (now < before).all()
        before = now


def test_as_many_steps_as_weights_are_exact() -> None:
    weight, hessian, damped = problem(1)
    kept = masks(weight, hessian, "magnitude")
    found = refit(weight * kept, weight, kept, damped, 400)
    assert torch.allclose(found, exact(weight, kept, damped), atol=1e-8)


def test_what_has_arrived_stays_finite() -> None:
    weight, _, damped = problem(0)
    kept = torch.ones_like(weight, dtype=torch.bool)
    kept[1] = False  # nothing left: 0, whatever the steps
    found = refit(weight * kept, weight, kept, damped, 30)
    assert torch.equal(found, weight * kept)
