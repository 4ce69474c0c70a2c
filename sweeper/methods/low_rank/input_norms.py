"""Mean sizes of the inputs of matrices, and what ASVD scales their columns with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


class InputSizes:
    """Sums of |x_j| over calibration tokens, by matrix."""

    def __init__(self) -> None:
        self._sums: dict[Any, torch.Tensor] = {}

    def add(self, module: Any, inputs: torch.Tensor) -> None:
        """Adds one batch of inputs, shape [..., columns]."""
        rows = inputs.detach().reshape(-1, inputs.shape[-1]).float()
        sums = torch.stack([rows.abs().sum(0), torch.full_like(rows[0], len(rows))])
        known = self._sums.get(module)
        self._sums[module] = sums if known is None else known.add_(sums)

    def take(self) -> Iterator[tuple[Any, torch.Tensor]]:
        """Yields (matrix, mean |x_j| [columns]) and forgets it."""
        for module in list(self._sums):
            yield module, self.mean(module)

    def mean(self, module: Any) -> torch.Tensor:
        """Mean |x_j| of one matrix, [columns]; it is forgotten."""
        total, count = self._sums.pop(module)
        return total / count


def scaling(mean: torch.Tensor, alpha: float) -> torch.Tensor:
    """[columns], float64: the mean size of each input to the power ``alpha``; 1 at alpha 0.

    An input that was never active counts as the least active of the others, since ASVD has
    to divide by it.
    """
    least = float(mean[mean > 0].min())
    scale: torch.Tensor = mean.double().clamp_min(least) ** alpha
    return scale
