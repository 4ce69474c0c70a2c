"""The reference of OBR: its closed form is the least error, and it makes both errors smaller."""

from __future__ import annotations

import pytest
import torch

from sweeper.methods.pruning.score_modifier import least_of_rows
from sweeper.methods.quantization.rtn_modifier import nearest, values

from .layers import error, layer
from .obr import restored, rounded_in_two
from .test_gptq import arguments, grid


def damped(inputs: torch.Tensor) -> torch.Tensor:
    hessian = 2 * inputs.t() @ inputs / len(inputs)
    return hessian + 0.01 * hessian.diagonal().mean() * torch.eye(len(hessian))


@pytest.mark.parametrize("sparsity", [0.25, 0.5])
def test_no_other_weights_make_up_for_pruning_better(sparsity: float) -> None:
    weight, inputs = layer(16, 96)
    kept = ~least_of_rows(weight.abs() * inputs.norm(dim=0), sparsity)
    hessian = damped(inputs)
    found = restored(weight, kept, hessian)
    assert (found[~kept] == 0).all()
    # the loss is quadratic: it is least where its gradient in the kept weights is zero
    gradient = (found - weight) @ hessian
    scale = ((weight * kept - weight) @ hessian)[kept].norm()
    assert gradient[kept].norm() < 1e-3 * scale
    assert error(found, weight, inputs) < 0.8 * error(weight * kept, weight, inputs)


def test_the_second_part_makes_up_for_the_rounding_of_the_first() -> None:
    weight, inputs = layer(16, 96)
    kept = ~least_of_rows(weight.abs() * inputs.norm(dim=0), 0.25)
    args = arguments(num_bits=3)
    scale, zero = grid(weight, args)

    def near(w: torch.Tensor) -> torch.Tensor:
        return values(nearest(w, scale, zero, args), scale, zero)

    target = restored(weight, kept, damped(inputs))
    found = rounded_in_two(target, kept, damped(inputs), near, 0.5)
    assert (found[~kept] == 0).all()
    assert torch.equal(near(found), found)
    assert error(found, target, inputs) < error(near(target), target, inputs)
