"""What must hold between methods on a layer with correlated inputs: more knowledge, less error."""

from __future__ import annotations

import pytest
import torch

from sweeper.methods.hessian import inverse_factor
from sweeper.methods.pruning.score_modifier import least, least_of_groups, least_of_rows
from sweeper.methods.pruning.sparsegpt_modifier import block_of, sparsify
from sweeper.methods.quantization.gptq_modifier import block_routine
from sweeper.methods.quantization.rtn_modifier import nearest, values

from .layers import error, layer
from .test_gptq import arguments, grid, quantize


def hessian(inputs: torch.Tensor) -> torch.Tensor:
    return 2 * inputs.t() @ inputs / len(inputs)


def pruned(
    weight: torch.Tensor, inputs: torch.Tensor, sparsity: float, nm: tuple[int, int] | None
) -> dict[str, torch.Tensor]:
    """The same layer by each pruner."""
    factor, _ = inverse_factor(hessian(inputs), 0.01)
    size, score = weight.abs(), weight.abs() * inputs.norm(dim=0)
    by_size = least_of_groups(size, nm) if nm else least(size, sparsity)
    by_score = least_of_groups(score, nm) if nm else least_of_rows(score, sparsity)
    return {
        "magnitude": weight.masked_fill(by_size, 0),
        "wanda": weight.masked_fill(by_score, 0),
        "sparsegpt": sparsify(
            weight.clone(),
            factor,
            sparsity=sparsity,
            nm=nm,
            block_size=block_of(128, nm[1] if nm else 1),
            matrices=[len(weight)],
        ),
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("sparsity", "nm"), [(0.25, None), (0.5, None), (0.75, None), (0.25, (2, 8)), (0.5, (2, 4))]
)
def test_sparsegpt_then_wanda_then_magnitude(
    sparsity: float, nm: tuple[int, int] | None, seed: int
) -> None:
    weight, inputs = layer(48, 192, seed)
    found = {k: error(w, weight, inputs) for k, w in pruned(weight, inputs, sparsity, nm).items()}
    assert found["sparsegpt"] < found["wanda"] < found["magnitude"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_gptq_then_rounding_to_nearest(bits: int, symmetric: bool, seed: int) -> None:
    weight, inputs = layer(48, 192, seed)
    args = arguments(num_bits=bits, symmetric=symmetric)
    with block_routine(None):
        compensated = quantize(weight, hessian(inputs), args)
    scale, zero = grid(weight, args)
    rounded = values(nearest(weight, scale, zero, args), scale, zero)
    assert error(compensated, weight, inputs) < error(rounded, weight, inputs)
