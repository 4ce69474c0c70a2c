"""Small layers with correlated inputs of uneven size, and the error of what was made of them."""

from __future__ import annotations

from typing import Any

import torch


def layer(
    rows: int, columns: int, seed: int = 0, tokens: int = 4
) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight [rows, columns] and inputs [tokens x columns, columns].

    Inputs are mixed, so that weights can stand in for each other, and some are much larger
    than others, as in a language model.
    """
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=random) / columns**0.5
    inputs = torch.randn(tokens * columns, columns, generator=random)
    inputs = inputs @ (mixing + torch.eye(columns))
    inputs *= torch.exp(torch.randn(columns, generator=random))
    return torch.randn(rows, columns, generator=random), inputs


def error(found: torch.Tensor, weight: torch.Tensor, inputs: torch.Tensor) -> float:
    """||X W'^T - X W^T||_F / ||X W^T||_F."""
    exact = inputs @ weight.t()
    return float((inputs @ found.t() - exact).norm() / exact.norm())


def by_token(inputs: torch.Tensor, bits: int = 8) -> torch.Tensor:
    """Inputs on the symmetric grid of their token: the published quantizer, for reference."""
    limit = 2 ** (bits - 1)
    scale = inputs.abs().amax(-1, keepdim=True) / (limit - 0.5)
    return (inputs / scale).clamp(-limit, limit - 1).round() * scale


def quantize_inputs(model: Any, bits: int = 8) -> None:
    """From now on every linear layer but the head reads inputs that are quantized by token."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and "lm_head" not in name:
            module.register_forward_pre_hook(lambda _module, args: (by_token(args[0], bits),))
