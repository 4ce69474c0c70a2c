"""What pruning costs a matrix, before it is pruned: the error of its output, by share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from sweeper.methods._hessian import energy


@dataclass(frozen=True, kw_only=True)
class PrunedError:
    """The shares 0, 1/levels, 2/levels ... of each row go, by the least score of Wanda."""

    levels: int
    _squares: dict[Any, torch.Tensor] = field(default_factory=dict)

    def listen(self, module: Any, inputs: torch.Tensor) -> None:
        """Adds the squares of the inputs, by column, which Wanda scores with."""
        rows = inputs.detach().reshape(-1, inputs.shape[-1]).float()
        self._squares[module] = self._squares.get(module, 0.0) + rows.square().sum(0)

    def of(self, module: Any, hessian: torch.Tensor) -> tuple[list[float], dict[str, Any]]:
        """See `sweeper.stages.sensitivity.Measure`."""
        weight = module.weight.detach().float()
        scores = weight.abs() * self._squares.pop(module).sqrt()
        ranks = scores.argsort(dim=1, stable=True).argsort(dim=1)
        errors = []
        for level in range(self.levels):
            lost = weight * (ranks < round(weight.shape[1] * level / self.levels))
            errors.append(energy(lost, hessian))
        return errors, {}
