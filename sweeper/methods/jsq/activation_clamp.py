"""JSQ's activation editor: outliers of a layer's input are clamped before saliency is taken.

Only what the compressor looks at is edited, as in the authors' code: a checkpoint has no
place for a clamp, so the model that is saved, and the one that is scored, has none.
"""

from __future__ import annotations

import torch


def edited(inputs: torch.Tensor, strength: float, clamp: str) -> torch.Tensor:
    """``inputs`` clamped to [r, 1 - r] of their range (Guo et al., ICML 2024, eq. 5).

    With ``clamp`` "quantile" the bounds are the r and 1 - r quantiles instead, which is
    what strengths of 1e-5 remove outliers with: of the range they remove almost nothing.

    Args:
        inputs: [..., columns], one batch; its own extremes count.
        strength: r, in [0, 0.5); 0 gives back ``inputs`` themselves.
        clamp: "range" or "quantile".
    """
    if strength == 0:
        return inputs
    exact = inputs.float()
    return exact.clamp(*_bounds(exact, strength, clamp))


def _bounds(values: torch.Tensor, strength: float, clamp: str) -> tuple[torch.Tensor, torch.Tensor]:
    if clamp == "range":
        low, high = values.aminmax()
        return strength * high + (1 - strength) * low, (1 - strength) * high + strength * low
    beyond = int(strength * values.numel())
    # each side holds few values; the whole is never sorted
    flat = values.flatten()
    return flat.topk(beyond + 1, largest=False).values[-1], flat.topk(beyond + 1).values[-1]
