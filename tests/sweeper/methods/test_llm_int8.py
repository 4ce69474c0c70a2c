"""LLM.int8(): bitsandbytes' codes and products are those of the paper, on a CPU too."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("bitsandbytes", reason="needs pip install 'isorate[bitsandbytes]'")

import bitsandbytes as bnb

from sweeper.methods.quantization.llm_int8 import METHOD

PARAMS = {"bits": 8, "mask": "keep", "outlier_threshold": 6.0}


def layer() -> tuple[torch.Tensor, torch.Tensor]:
    """A weight [32, 64] and inputs [16, 64], of which two columns have outliers."""
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(16, 64, generator=random)
    inputs[:, 5] *= 40
    inputs[3, 9] = 70.0
    return torch.randn(32, 64, generator=random), inputs


def codes(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eq. 1: 127 w / absmax of the row, rounded."""
    largest = np.abs(matrix).max(1, keepdims=True)
    return np.round(127 * matrix / largest), largest / 127


def reference(weight: np.ndarray, inputs: np.ndarray, threshold: float) -> np.ndarray:
    """Eq. 8: columns with an input of that size apart, the others as integers (by numpy)."""
    outlier = (np.abs(inputs) >= threshold).any(0) if threshold else np.zeros(64, dtype=bool)
    w, w_scale = codes(weight)
    x, x_scale = codes(np.where(outlier, 0, inputs))
    return x @ w.T * x_scale * w_scale.T + inputs[:, outlier] @ (w * w_scale)[:, outlier].T


def multiplied(weight: torch.Tensor, inputs: torch.Tensor, threshold: float) -> np.ndarray:
    linear = bnb.nn.Linear8bitLt(64, 32, bias=False, has_fp16_weights=False, threshold=threshold)
    linear.weight = bnb.nn.Int8Params(weight.half(), requires_grad=False, has_fp16_weights=False)
    with torch.no_grad():
        found: torch.Tensor = linear.to("cpu").eval()(inputs.half())
    return found.float().numpy()


@pytest.mark.parametrize("threshold", [0.0, 6.0])
def test_equal_to_the_published_product(threshold: float) -> None:
    weight, inputs = layer()
    exact = inputs.numpy() @ weight.numpy().T
    expected = reference(weight.numpy(), inputs.numpy(), threshold)
    found = multiplied(weight, inputs, threshold)
    scale = np.abs(exact).mean()
    assert np.abs(found - expected).mean() < 2e-3 * scale
    assert np.abs(found - exact).mean() < (0.012 if threshold else 0.05) * scale


def test_outliers_apart_are_more_exact() -> None:
    weight, inputs = layer()
    exact = inputs.numpy() @ weight.numpy().T
    apart, together = (np.abs(multiplied(weight, inputs, t) - exact).mean() for t in (6.0, 0.0))
    assert apart < 0.6 * together


def test_refusals() -> None:
    assert METHOD.refusal(PARAMS) is None
    assert "quant.bits=4: llm_int8, valid: 8." in str(METHOD.refusal(PARAMS | {"bits": 4}))
    message = str(METHOD.refusal(PARAMS | {"outlier_threshold": -1.0}))
    assert "quant.outlier_threshold=-1.0: valid: 0 (no outliers) or above" in message
