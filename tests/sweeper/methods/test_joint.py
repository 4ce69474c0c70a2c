"""The joint pass: the published column loop, a mask that holds, and codes on the grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sweeper.methods.hessian import inverse_factor
from sweeper.methods.pruning.sparsegpt_modifier import block_of, sparsify
from sweeper.methods.quantization.joint import METHOD
from sweeper.methods.quantization.joint_modifier import by_column
from sweeper.methods.quantization.rtn_modifier import Grid
from tests import rounding

from .layers import error, layer
from .test_gptq import arguments, grid

NM = tuple[int, int]


def ours(
    weight: torch.Tensor,
    inputs: torch.Tensor,
    sparsity: float,
    nm: NM | None,
    block: int,
    args: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the new weight, what was kept)."""
    factor, _ = inverse_factor(2 * inputs.t() @ inputs / len(inputs), 0.01)
    kept = torch.zeros_like(weight, dtype=torch.bool)
    scale, zero = grid(weight, args)
    points = Grid(scale=scale, zero=zero, args=args)
    found = sparsify(
        weight.clone(),
        factor,
        sparsity=sparsity,
        nm=nm,
        block_size=block,
        matrices=[len(weight)],
        kept=kept,
        rounded=by_column(points, weight.shape[1]),
    )
    return found, kept


def reference(
    weight: np.ndarray,
    inputs: np.ndarray,
    sparsity: float,
    nm: NM | None,
    block: int,
    scale: np.ndarray,
    zero: np.ndarray,
    bits: int,
) -> np.ndarray:
    """Algorithm 1 of arXiv:2301.00774 with section 3.5, by numpy, one column after the other."""
    columns = weight.shape[1]
    hessian = 2 * inputs.T @ inputs / len(inputs)
    hessian += 0.01 * np.mean(np.diag(hessian)) * np.eye(columns)
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    w, found, pruned = weight.copy(), np.zeros_like(weight), np.zeros(weight.shape, dtype=bool)
    group = columns // scale.shape[1]
    for j in range(columns):
        saliency = w**2 / np.diag(upper) ** 2
        if nm is None and j % block == 0:
            part = saliency[:, j : j + block]
            threshold = np.sort(part, axis=None)[int(part.size * sparsity)]
            pruned[:, j : j + block] = part <= threshold
        elif nm is not None and j % nm[1] == 0 and j + nm[1] <= columns:
            least = np.argsort(saliency[:, j : j + nm[1]], axis=1)[:, : nm[0]]
            np.put_along_axis(pruned[:, j : j + nm[1]], least, True, axis=1)
        s, z = scale[:, j // group], zero[:, j // group]
        codes = np.clip(np.round(w[:, j] / s + z), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        found[:, j] = np.where(pruned[:, j], 0, (codes - z) * s)
        miss = (w[:, j] - found[:, j]) / upper[j, j]
        w[:, j:] -= np.outer(miss, upper[j, j:])
    return found


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    ("sparsity", "nm", "block"),
    [(0.25, None, 64), (0.5, None, 128), (0.25, (2, 8), 64), (1 / 3, (1, 3), 66)],
)
def test_equal_to_a_dense_reference(
    sparsity: float, nm: NM | None, block: int, symmetric: bool
) -> None:
    # in float64: single precision decides some ties otherwise, and what follows in the row
    weight, inputs = (part.double() for part in layer(16, 128))
    args = arguments(symmetric=symmetric)
    with rounding.exactly():
        found, _ = ours(weight, inputs, sparsity, nm, block, args)
    scale, zero = (t.double().numpy() for t in grid(weight, args))
    expected = reference(weight.numpy(), inputs.numpy(), sparsity, nm, block, scale, zero, 4)
    assert np.allclose(found.numpy(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("nm", [None, (2, 8), (1, 3)])
def test_what_is_pruned_is_zero_and_what_is_kept_lies_on_the_grid(nm: NM | None) -> None:
    weight, inputs = layer(16, 128)
    args = arguments(num_bits=3)
    size = block_of(64, nm[1] if nm else 1)
    found, kept = ours(weight, inputs, 0.5, nm, size, args)
    assert (found[~kept] == 0).all()
    assert (found[kept] == 0).any()  # rounded to zero, not pruned: zeros are no mask
    codes = found / grid(weight, args)[0].repeat_interleave(32, dim=1)
    assert torch.allclose(codes, codes.round(), atol=1e-4)
    assert set(codes.round().unique().tolist()) <= set(range(-4, 4))
    if nm is None:
        assert kept.float().mean().item() == pytest.approx(0.5, abs=2e-3)
    else:
        complete = 128 - 128 % nm[1]
        groups = (~kept[:, :complete]).reshape(16, -1, nm[1]).sum(-1)
        assert (groups == nm[0]).all()
        assert kept[:, complete:].all()


@pytest.mark.parametrize("sparsity", [0.25, 0.5])
def test_both_errors_are_compensated(sparsity: float) -> None:
    weight, inputs = layer(48, 192)
    args = arguments()
    found, kept = ours(weight, inputs, sparsity, None, 128, args)
    scale = grid(weight, args)[0].repeat_interleave(32, dim=1)
    alone = (weight / scale).clamp(-8, 7).round() * scale * kept
    assert error(found, weight, inputs) < error(alone, weight, inputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 5}, "quant.bits=5: joint, valid: 2, 3, 4, 8"),
        ({"pattern": "8:2"}, "prune.pattern=8:2"),
        ({"group_size": 128}, "quant.group_size=128: it does not divide the columns of q_proj"),
        ({"dampening": 0.0}, "quant.dampening=0.0"),
        ({"block_size": 0}, "quant.block_size=0"),
    ],
)
def test_refusals(change: dict[str, Any], message: str) -> None:
    params = {
        "sparsity": 0.25,
        "pattern": "unstructured",
        "bits": 4,
        "group_size": 64,
        "symmetric": True,
        "block_size": 128,
        "dampening": 0.01,
        "shapes": {"q_proj": (576, 576)},
    }
    assert METHOD.refusal(params) is None
    assert message in str(METHOD.refusal(params | change))
