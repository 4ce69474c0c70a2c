"""How far the output of each treated matrix is from what it was, and what its inputs look like.

Recorded by whoever replaces weights with a Hessian at hand. Two numbers tell where a loss is:

- the relative error of the output, ||X W'^T - X W^T|| / ||X W^T||, on the inputs that the matrix
  had while it was treated (those of the compressed layers before it);
- the share of the inputs' energy that lies in one direction, the largest eigenvalue of X^T X over
  its trace. Where a token of huge activations drives a matrix it is near 1, and what happens to
  the columns along that direction decides the matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypedDict

import torch

from sweeper.methods.hessian import first_direction

FILE = "layer_errors.json"
_PANEL = 256


class LayerError(TypedDict):
    """One matrix.

    Attributes:
        name: its module path.
        weights: how many it has.
        error: relative error of its output.
        energy: ||X W^T||^2 per token, by which errors of matrices can be weighed.
        direction: share of its inputs' energy in their first direction, in [1 / columns, 1].
    """

    name: str
    weights: int
    error: float
    energy: float
    direction: float


_kept: ContextVar[dict[str, LayerError] | None] = ContextVar("layer_errors", default=None)


@contextmanager
def recorded() -> Iterator[dict[str, LayerError]]:
    """Inside, every call of `record` adds to what is yielded: name -> its row."""
    found: dict[str, LayerError] = {}
    token = _kept.set(found)
    try:
        yield found
    finally:
        _kept.reset(token)


def wanted() -> bool:
    """Whether anybody records."""
    return _kept.get() is not None


def record(
    names: Sequence[str],
    before: Sequence[torch.Tensor],
    after: Sequence[torch.Tensor],
    hessian: torch.Tensor,
) -> None:
    """Keeps the errors of matrices that read the same inputs.

    Args:
        names: of the matrices.
        before: their weights as they were, [rows, columns] each.
        after: as they are.
        hessian: [columns, columns], 2 X^T X / tokens, not dampened.
    """
    known = _kept.get()
    if known is None:
        return
    trace = float(hessian.diagonal().double().sum())
    direction = min(1.0, first_direction(hessian)[0] / trace) if 0 < trace < float("inf") else 0.0
    for name, old, new in zip(names, before, after, strict=True):
        lost = old.float()  # one matrix at a time: this is done where memory is at its peak
        energy = float(by_row(lost, hessian).sum()) / 2
        lost = lost - new.float()
        error = max(0.0, float(by_row(lost, hessian).sum()) / 2)
        known[name] = LayerError(
            name=name,
            weights=lost.numel(),
            error=(error / energy) ** 0.5 if energy > 0 else 0.0,
            energy=energy,
            direction=direction,
        )


def by_row(weight: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """[rows], w H w^T of each row, float64; of the symmetric H the lower triangle is read."""
    found = torch.zeros(len(weight), dtype=torch.float64, device=weight.device)
    for start in range(0, weight.shape[1], _PANEL):
        here = slice(start, start + _PANEL)
        part = weight[:, here]
        product = part @ hessian[here, here]
        if start:
            product.addmm_(weight[:, :start], hessian[here, :start].t(), alpha=2)
        found += product.mul_(part).sum(1)
    return found
