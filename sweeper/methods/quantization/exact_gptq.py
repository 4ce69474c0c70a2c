"""GPTQ with the Hessian of the kept weights, row by row: the exact form of Case B.

Laborde et al. (arXiv:2505.07289, eq. 6) quantize each row with the inverse of the Hessian of
its kept weights. That inverse is never formed: with H_M = R Rᵀ, R upper triangular, the loss
of a row is ‖Rᵀ(w - q)‖², and to choose its terms from the first to the last is GPTQ's loop.
One Cholesky factor a row, of as many columns as it keeps, is all it takes.
"""

from __future__ import annotations

from typing import Any

import torch

from sweeper.methods.hessian import NotPositiveDefinite, dampen
from sweeper.methods.quantization.gptq_modifier import MaskedGPTQ, column_order
from sweeper.methods.quantization.rtn_modifier import Grid, wide
from sweeper.methods.refinement.refine import Quantized

_HELD_BYTES = 2**27  # of the Hessians of the rows at work: 128 MiB, as much again of factors


class ExactGPTQ(MaskedGPTQ):
    """`MaskedGPTQ` whose rows do not share one inverse Hessian."""

    def _solve(
        self,
        modules: list[Any],
        weight: torch.Tensor,
        hessian: torch.Tensor,
        grid: Grid,
        dampening: float,
    ) -> Quantized:
        order, kept = column_order(hessian, grid.args), weight != 0
        dead = dampen(hessian, dampening)
        weight[:, dead] = 0
        found = torch.empty_like(weight)
        by_column = (weight, wide(grid.scale, weight), wide(grid.zero, weight))
        w, s, z = (each[:, order] for each in by_column)
        found[:, order] = solve(w, w != 0, hessian[order][:, order], s, z, *grid.ends)
        return Quantized(weight=found, grid=grid, kept=kept)


def solve(
    weight: torch.Tensor,
    kept: torch.Tensor,
    hessian: torch.Tensor,
    scale: torch.Tensor,
    zero: torch.Tensor,
    low: float,
    high: float,
) -> torch.Tensor:
    """Each row on its grid; what is not kept is 0.

    Args:
        weight: [rows, columns], float32, columns in the order in which they are rounded.
        kept: boolean [rows, columns].
        hessian: [columns, columns], dampened.
        scale: [rows, columns], of each weight.
        zero: [rows, columns], its zero point.
        low: the smallest code.
        high: the largest code.

    Raises:
        NotPositiveDefinite: a row's Hessian has no Cholesky factor.
    """
    found = torch.zeros_like(weight)
    width = int(kept.sum(1).max()) if len(kept) else 0
    if not width:
        return found
    at_once = max(1, _HELD_BYTES // (4 * width * width))
    for rows in torch.arange(len(weight), device=weight.device).split(at_once):
        index, real = _kept_last_to_first(kept[rows])
        w, s, z = (each[rows].gather(1, index) for each in (weight, scale, zero))
        q = _rounded(w * real, _factors(hessian, index, real), s, z, low, high)
        found[rows] = found[rows].scatter_(1, index, q * real)
    return found


def _kept_last_to_first(kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(columns of the kept weights of each row in reverse, after others; which are kept)."""
    width = int(kept.sum(1).max())
    index = (~kept).to(torch.int8).argsort(dim=1, stable=True)[:, :width].flip(1)
    return index, kept.gather(1, index)


def _factors(hessian: torch.Tensor, index: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """R of each row, [rows, width, width]; the unit matrix where not kept.

    Columns are in reverse, and of those the Cholesky factor is lower triangular. Its
    transpose is returned, whose rows lie together in memory.
    """
    part = hessian[index.unsqueeze(2), index.unsqueeze(1)]
    if not real.all():
        part *= real.unsqueeze(2) & real.unsqueeze(1)
        torch.diagonal(part, dim1=1, dim2=2).add_((~real).float())
    lower, wrong = torch.linalg.cholesky_ex(part)
    if wrong.any():
        raise NotPositiveDefinite
    return lower.mT


def _rounded(
    w: torch.Tensor,
    factor: torch.Tensor,
    scale: torch.Tensor,
    zero: torch.Tensor,
    low: float,
    high: float,
) -> torch.Tensor:
    """Rounds from the last column to the first; each makes up for the errors before it."""
    q, error = torch.empty_like(w), torch.zeros_like(w)
    for i in reversed(range(w.shape[1])):
        owed = (factor[:, i, i + 1 :] * error[:, i + 1 :]).sum(1) / factor[:, i, i]
        s, z = scale[:, i], zero[:, i]
        q[:, i] = (((w[:, i] + owed) / s + z).clamp(low, high).round() - z) * s
        error[:, i] = w[:, i] - q[:, i]
    return q
