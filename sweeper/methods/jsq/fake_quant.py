"""SmoothQuant's W8A8 imitated in place, so that a search can hear what quantization costs.

Weights are rounded by row, inputs by token while the model runs (Xiao et al., ICML 2023); a
checkpoint is quantized by a quantize stage, not by this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

_ALPHA = 0.5  # as published for most models
_LEAST = 1e-5


def rounded(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Each row on its own symmetric grid of ``bits`` bits; float32 [..., columns]."""
    values = values.float()
    top = 2 ** (bits - 1) - 1
    scale = values.abs().amax(-1, keepdim=True).div_(top).clamp_(min=torch.finfo().tiny)
    return (values / scale).round_().mul_(scale)


def smoothing(peaks: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """s_j = max|X_j|^a / max|W_j|^(1 - a), eq. 4 of SmoothQuant, of matrices that share inputs.

    Args:
        peaks: [columns], the largest |input| of each column.
        weights: each [rows, columns].
    """
    largest = torch.stack([w.float().abs().amax(0) for w in weights]).amax(0)
    found = peaks.clamp(min=_LEAST) ** _ALPHA / largest.clamp(min=_LEAST) ** (1 - _ALPHA)
    return found.clamp(min=_LEAST)


@contextmanager
def quantized(modules: Sequence[Any], peaks: torch.Tensor, bits: int) -> Iterator[None]:
    """Inside, matrices that share an input compute with weights and inputs of ``bits`` bits.

    Inputs are smoothed where several matrices share them, that is behind a norm, which is
    where the published method has a place for the scales. Weights are left rounded.
    """
    weights = [module.weight.data for module in modules]
    scale = smoothing(peaks, weights) if len(modules) > 1 else torch.ones_like(peaks)

    def entering(_module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        inputs = args[0]
        return (rounded(inputs.float() / scale, bits).to(inputs.dtype), *args[1:])

    for module, weight in zip(modules, weights, strict=True):
        module.weight.data.copy_(rounded(weight.float() * scale, bits))
    handles = [module.register_forward_pre_hook(entering) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
