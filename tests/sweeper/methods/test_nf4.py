"""NF4: bitsandbytes' codes are those of the paper, and a zero stays a zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("bitsandbytes", reason="needs pip install 'isorate[bitsandbytes]'")

from bitsandbytes.functional import dequantize_4bit, quantize_4bit

from sweeper.methods.quantization.nf4 import METHOD
from tests.rounding import UNIT

from .layers import layer

# arXiv:2305.14314, appendix E
CODES = np.array(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ]
)


def reference(weight: np.ndarray) -> np.ndarray:
    """Section 3: nearest code of w / absmax in blocks of 64, by numpy."""
    blocks = weight.reshape(-1, 64).astype(np.float64)
    largest = np.abs(blocks).max(1, keepdims=True)
    code = np.abs(blocks[..., None] / largest[..., None] - CODES).argmin(-1)
    return (CODES[code] * largest).reshape(weight.shape)


def quantized(weight: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = dequantize_4bit(*quantize_4bit(weight, blocksize=64, quant_type="nf4"))
    return found


def test_equal_to_the_published_quantizer() -> None:
    weight, _ = layer(48, 128)
    found, expected = quantized(weight).numpy(), reference(weight.numpy())
    # A weight in the middle of two codes may fall to either side, which is equally near: as
    # far as float32 can tell, with codes, middles and scales that are rounded to it.
    bound = 8 * UNIT * np.abs(weight.numpy()).max()
    np.testing.assert_allclose(
        np.abs(found - weight.numpy()), np.abs(expected - weight.numpy()), rtol=0, atol=bound
    )
    assert (np.abs(found - expected) > bound).sum() <= 2  # so near a middle lies one in 500,000


def test_pruned_weights_stay_zero_whatever_the_block_holds() -> None:
    weight, _ = layer(48, 128)
    weight[torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) < 0.9] = 0
    weight[:, :64] *= 1e-4
    weight[7] = 0
    assert (quantized(weight)[weight == 0] == 0).all()


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_there_is_no_other_bit_width(bits: int) -> None:
    params = {"bits": bits, "mask": "keep", "double_quant": False}
    assert f"quant.bits={bits}: nf4, valid: 4." in str(METHOD.refusal(params))
    assert METHOD.refusal(params | {"bits": 4}) is None
