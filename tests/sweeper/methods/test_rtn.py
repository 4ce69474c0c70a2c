"""Rounding to nearest: the published uniform quantizer, on the scales that are saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from compressed_tensors.quantization import QuantizationArgs

from sweeper.methods.quantization.rtn import METHOD
from sweeper.methods.quantization.rtn_modifier import nearest, values
from tests.rounding import UNIT

from .layers import layer
from .test_gptq import arguments, grid

SHAPES = {"q_proj": (576, 576), "down_proj": (576, 1536)}
PARAMS = {"bits": 4, "group_size": 64, "symmetric": True, "mask": "keep", "shapes": SHAPES}


def reference(weight: np.ndarray, bits: int, group: int, symmetric: bool) -> np.ndarray:
    """Min-max rounding of each group, by numpy.

    In single precision: a symmetric grid puts the largest weight in the middle of two codes.
    """
    groups = weight.reshape(len(weight), -1, group)
    low, high = groups.min(-1, keepdims=True), groups.max(-1, keepdims=True)
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if symmetric:
        scale, zero = np.maximum(-low, high) / np.float32((most - least) / 2), 0.0
    else:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
        scale = (high - low) / np.float32(most - least)
        zero = np.clip(np.round(least - low / scale), least, most)
    codes = np.clip(np.round(groups / scale) + zero, least, most)
    return ((codes - zero) * scale).reshape(weight.shape)


def rounded(weight: torch.Tensor, args: QuantizationArgs) -> torch.Tensor:
    scale, zero = grid(weight, args)
    return values(nearest(weight, scale, zero, args), scale, zero)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_equal_to_a_dense_reference(bits: int, symmetric: bool) -> None:
    weight, _ = layer(24, 96)
    args = arguments(num_bits=bits, symmetric=symmetric)
    expected = reference(weight.numpy(), bits, 32, symmetric)
    # the same codes; a code times its scale is rounded once or twice
    bound = 4 * UNIT * np.abs(expected).max()
    np.testing.assert_allclose(rounded(weight, args).numpy(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("symmetric", [True, False])
def test_zero_is_a_point_of_every_grid(symmetric: bool) -> None:
    weight, _ = layer(24, 96)
    weight[:, ::3] = 0
    weight[:, 32:64] += 9  # a group whose values all lie on one side
    weight[5, 32:64] = 0
    found = rounded(weight, arguments(symmetric=symmetric))
    assert (found[weight == 0] == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 5}, "quant.bits=5: rtn, valid: 2, 3, 4, 6, 8"),
        ({"group_size": 128}, "quant.group_size=128: it does not divide the columns of q_proj"),
    ],
)
def test_refusals(change: dict[str, Any], message: str) -> None:
    assert METHOD.refusal(PARAMS) is None
    assert message in str(METHOD.refusal(PARAMS | change))
