"""Small layers with correlated inputs of uneven size, and the error of what was made of them."""

from __future__ import annotations

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
