"""GPTQ: llm-compressor's algorithm, and the two ways to treat a pruned weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.utils import calculate_qparams
from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight

from sweeper.methods.hessian import NotPositiveDefinite, dampen
from sweeper.methods.quantization import exact_gptq, gptq_modifier
from sweeper.methods.quantization.exact_gptq import solve
from sweeper.methods.quantization.gptq_modifier import block_routine
from sweeper.methods.quantization.rtn_modifier import wide
from tests import rounding

from .test_sparsegpt import layer, ours


def arguments(**given: Any) -> QuantizationArgs:
    options = {"num_bits": 4, "symmetric": True, "strategy": "group", "group_size": 32}
    return QuantizationArgs(**(options | given))


def grid(weight: torch.Tensor, args: QuantizationArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales and zero points of each group, [rows, groups]."""
    groups = weight.reshape(len(weight), -1, args.group_size or weight.shape[1])
    scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
    return scale, zero


def quantize(
    weight: torch.Tensor, hessian: torch.Tensor, args: QuantizationArgs, block: int = 128
) -> torch.Tensor:
    scale, zero = grid(weight, args)
    found: torch.Tensor = quantize_weight(
        weights=weight.clone().unsqueeze(0),
        hessians=hessian.clone().unsqueeze(0),
        scale=scale.unsqueeze(0),
        zero_point=zero.unsqueeze(0),
        global_scale=None,
        quant_args=args,
        blocksize=block,
        percdamp=0.01,
    )[0][0]
    return found


CHANNEL = {"strategy": "channel", "group_size": None}


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("shape", [{}, CHANNEL, {"actorder": "static"}])
def test_our_block_routine_is_llm_compressors_bit_for_bit(
    bits: int, symmetric: bool, shape: dict[str, Any]
) -> None:
    weight, hessian = layer(40, 320)
    args = arguments(num_bits=bits, symmetric=symmetric, **shape)
    expected = quantize(weight, hessian, args)
    with block_routine(None):
        found = quantize(weight, hessian, args)
        nothing_pruned = torch.ones(1, 40, 320, dtype=torch.bool)
    with block_routine(nothing_pruned):
        kept = quantize(weight, hessian, args)
    assert torch.equal(found, expected)
    assert torch.equal(kept, expected)


def test_our_routine_is_in_use_inside_a_call_only(monkeypatch: pytest.MonkeyPatch) -> None:
    work = torch.zeros(1, 2, 2)
    assert not gptq_modifier._is_running(work)
    with block_routine(None):
        assert gptq_modifier._is_running(work)
    assert not gptq_modifier._is_running(work)


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_kept_mask_holds_and_only_kept_weights_carry_errors(symmetric: bool) -> None:
    weight, hessian = layer(40, 320)
    pruned = ours(weight, hessian, 0.5, None, 128)
    args = arguments(symmetric=symmetric)
    with block_routine((pruned != 0).unsqueeze(0)):
        kept = quantize(pruned, hessian, args)
    ignored = quantize(pruned, hessian, args)
    where = pruned == 0
    assert (kept[where] == 0).all()
    assert (ignored[where] != 0).any()


def exact_case_b(
    weight: torch.Tensor, hessian: torch.Tensor, args: QuantizationArgs
) -> torch.Tensor:
    """Laborde et al. 2025, eq. 4 and 6: each row with the Hessian of its kept weights alone."""
    result = torch.zeros_like(weight)
    scale, _ = grid(weight, args)
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(len(hessian))
    for row in range(len(weight)):
        kept = (weight[row] != 0).nonzero().flatten()
        inverse = torch.linalg.inv(damped[kept][:, kept])
        factor = torch.linalg.cholesky(inverse, upper=True)
        w = weight[row, kept].clone()
        s = scale[row, kept // args.group_size]
        for i in range(len(kept)):
            q = (w[i] / s[i]).clamp(-(2 ** (args.num_bits - 1)), 2 ** (args.num_bits - 1) - 1)
            q = q.round() * s[i]
            w[i:] -= (w[i] - q) / factor[i, i] * factor[i, i:]
            result[row, kept[i]] = q
    return result


def exact(weight: torch.Tensor, hessian: torch.Tensor, args: QuantizationArgs) -> torch.Tensor:
    """Ours."""
    scale, zero = grid(weight, args)
    damped = hessian.clone()
    dampen(damped, 0.01)
    limit = 2 ** (args.num_bits - 1)
    s, z = wide(scale, weight), wide(zero, weight)
    return solve(weight, weight != 0, damped, s, z, -limit, limit - 1)


@pytest.mark.parametrize("at_once", [1, 5, 24])
@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.9])
def test_the_exact_form_is_that_of_each_rows_inverse(
    sparsity: float, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, hessian = layer(24, 192)
    pruned = ours(weight, hessian, sparsity, None, 128)
    pruned[3] = 0  # a row of which nothing is left
    pruned[7] = weight[7]  # and one of which nothing is gone
    monkeypatch.setattr(exact_gptq, "_HELD_BYTES", at_once * 4 * 192 * 192)
    # in float64: a tie that falls to the other side takes the rest of its row along
    pruned, hessian = pruned.double(), hessian.double()
    with rounding.exactly():
        found, expected = (
            exact(pruned, hessian, arguments()),
            exact_case_b(pruned, hessian, arguments()),
        )
    assert (found[pruned == 0] == 0).all()
    assert torch.allclose(found, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("options", [{}, {"symmetric": False}, {"num_bits": 3, "symmetric": False}])
def test_the_exact_form_of_a_dense_row_is_gptq(options: dict[str, Any]) -> None:
    weight, hessian = layer(24, 192)
    args = arguments(**options)
    found, expected = exact(weight, hessian, args), quantize(weight, hessian, args)
    # Both in float32, whose rounding is 1e-5 of a step here: one weight in 50,000 is so near the
    # middle of two codes that it may fall to either side, and takes the rest of its row along.
    # More than two such rows of 24 are met once in ten thousand processors.
    step = grid(weight, args)[0].min() / 2
    assert ((found - expected).abs() > step).any(1).sum() <= 2
    assert loss(found, weight, hessian) == pytest.approx(loss(expected, weight, hessian), rel=0.02)


def test_the_exact_form_refuses_a_hessian_without_a_factor() -> None:
    weight, hessian = layer(4, 64)
    s, z = torch.ones_like(weight), torch.zeros_like(weight)
    with pytest.raises(NotPositiveDefinite):
        solve(weight, weight != 0, -hessian, s, z, -8, 7)


def loss(found: torch.Tensor, weight: torch.Tensor, hessian: torch.Tensor) -> float:
    """Squared error of the layer's output relative to the output's size (eq. 2)."""
    error = found - weight
    return float((error @ hessian * error).sum() / (weight @ hessian * weight).sum())


def compared(sparsity: float, bits: int, seed: int) -> tuple[float, float, float, float]:
    """Losses against the pruned layer: kept, exact Case B, ignored, rounding to nearest."""
    weight, hessian = layer(24, 192, seed)
    pruned = ours(weight, hessian, sparsity, None, 128)
    args = arguments(num_bits=bits)
    with block_routine((pruned != 0).unsqueeze(0)):
        kept = quantize(pruned, hessian, args)
    scale, _ = grid(pruned, args)
    s = scale.repeat_interleave(32, dim=1)
    limit = 2 ** (bits - 1)
    nearest = (pruned / s).clamp(-limit, limit - 1).round() * s
    found = (kept, exact(pruned, hessian, args), quantize(pruned, hessian, args), nearest)
    a, b, c, d = (loss(f, pruned, hessian) for f in found)
    return a, b, c, d


@pytest.mark.parametrize("sparsity", [0.25, 0.5])
def test_the_kept_mask_is_a_heuristic_near_the_exact_form(sparsity: float) -> None:
    losses = torch.tensor([compared(sparsity, 4, seed) for seed in range(3)]).mean(0)
    kept, by_row, ignored, nearest = losses.tolist()
    assert by_row < kept < nearest
    # the shared inverse costs something, the more the more is pruned, and is bounded
    assert kept < (1.5 if sparsity == 0.25 else 2.5) * by_row
    assert ignored < kept
