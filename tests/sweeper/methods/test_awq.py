"""AWQ: the scales are those of the published search, and what they stand for is unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sweeper.methods.quantization.awq import METHOD
from sweeper.modeling import checkpoint
from sweeper.stages import Job, calibration, quantize
from tests import tiny

GROUP, BITS = 32, 4
PARAMS: dict[str, Any] = {
    "method": "awq",
    "bits": BITS,
    "group_size": GROUP,
    "symmetric": True,
    "mask": "none",
    "model": {},
    "calibration": {"samples": 4, "length": 64, "seed": 0},
    "compute_dtype": "float32",
    "save_dtype": "float32",
}
NORM = "model.layers.0.post_attention_layernorm"


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """First feed-forward layer of a tiny model: weights, inputs, and its norm after AWQ."""
    folder = tmp_path_factory.mktemp("awq")
    dense, text = tiny.make(folder / "dense"), tiny.text(folder / "text.txt")
    model = checkpoint.load(dense, dtype="float32")
    with torch.no_grad():  # uneven inputs, as in a language model
        norm = model.model.layers[0].post_attention_layernorm.weight
        norm.copy_(torch.exp(torch.randn(64, generator=torch.Generator().manual_seed(0))))
    checkpoint.save_dense(model, dense, folder / "uneven", dtype="float32")
    inputs: list[torch.Tensor] = []
    mlp = model.model.layers[0].mlp
    mlp.register_forward_pre_hook(lambda _m, args: inputs.append(args[0]))
    samples = calibration.samples(PARAMS["calibration"], checkpoint.tokenizer(dense), text)
    with torch.no_grad():
        model(samples)
    out = folder / "out"
    out.mkdir()
    sources = {"model": folder / "uneven", "calibration": text}
    quantize.run(Job(params=PARAMS, out=out, scratch=out, sources=sources))
    found = {n: getattr(mlp, n).weight for n in ("gate_proj", "up_proj", "down_proj")}
    found |= {"inputs": inputs[0].reshape(-1, 64), "before": norm, "after": after(out)}
    return {name: value.detach().float().numpy() for name, value in found.items()}


def after(out: Path) -> torch.Tensor:
    tensor: torch.Tensor = load_file(out / "checkpoint" / "model.safetensors")[f"{NORM}.weight"]
    return tensor


def rounded(weight: np.ndarray) -> np.ndarray:
    """In single precision: the largest weight of a group lies in the middle of two codes."""
    groups = weight.reshape(len(weight), -1, GROUP)
    scale = np.abs(groups).max(-1, keepdims=True) / np.float32((2**BITS - 1) / 2)
    codes = np.clip(np.round(groups / scale), -(2 ** (BITS - 1)), 2 ** (BITS - 1) - 1)
    return (codes * scale).reshape(weight.shape)


def outputs(layer: dict[str, np.ndarray], gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    x = layer["inputs"]
    gated = x @ gate.T
    return (gated / (1 + np.exp(-gated)) * (x @ up.T)) @ layer["down_proj"].T


def search(layer: dict[str, np.ndarray]) -> list[tuple[float, np.ndarray]]:
    """Eq. 4 and 5 of arXiv:2306.00978: (error, scales) for each exponent, by numpy."""
    exact = outputs(layer, layer["gate_proj"], layer["up_proj"])
    size = np.abs(layer["inputs"]).mean(0)
    found = []
    for exponent in (np.arange(20) / 19).astype(np.float32):
        scales = np.maximum(size**exponent, 1e-4)
        scales /= np.sqrt(scales.max() * scales.min())
        gate, up = (rounded(layer[n] * scales) / scales for n in ("gate_proj", "up_proj"))
        found.append((float(((outputs(layer, gate, up) - exact) ** 2).mean()), scales))
    return found


def test_the_scales_are_those_of_the_published_search(layer: dict[str, np.ndarray]) -> None:
    tried, found = search(layer), layer["before"] / layer["after"]
    chosen = [error for error, scales in tried if np.allclose(found, scales, rtol=1e-3)]
    assert len(chosen) == 1
    # errors of neighbours differ little, and a weight between two codes may fall to either
    assert chosen[0] < 1.1 * min(error for error, _ in tried)
    assert chosen[0] < 0.6 * tried[0][0]  # the first exponent, 0, is rounding to nearest


def test_refusals() -> None:
    shapes = {"q_proj": (576, 576)}
    params = {"bits": 4, "group_size": 64, "symmetric": True, "mask": "keep", "shapes": shapes}
    assert METHOD.refusal(params) is None
    assert "quant.bits=16: awq, valid: 2, 3, 4, 8." in str(METHOD.refusal(params | {"bits": 16}))
    assert "quant.group_size=100" in str(METHOD.refusal(params | {"group_size": 100}))
