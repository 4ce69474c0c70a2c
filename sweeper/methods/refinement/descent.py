"""Cyclic coordinate descent on a grid, with a mask: what GPTQ's single pass leaves is improved.

The error of a layer is tr (Q - T) H (Q - T)^T. As a function of one column of Q alone it is a
parabola in every row, so the best point of the grid is the one nearest to its lowest point,
Q_j - G_j / H_jj with G = (Q - T) H (QuantEase, arXiv:2309.01885). A step never raises the error.
All rows go at once; G is formed for one block of columns at a time from the errors as they are, so
nothing drifts and a sweep costs about as much as GPTQ's pass.

Tensors are laid out column first, [columns, rows]: what a step touches lies together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

WIDTH = 64
"""Columns of a block: its products are matrix products, the steps within it are not."""


@dataclass(kw_only=True)
class Fit:
    """A matrix on its grid and what it is to stand for; `sweep` and others change it in place.

    Attributes:
        values: [columns, rows], on the grid, 0 where pruned.
        target: [columns, rows], T.
        error: [columns, rows], values - target.
        hessian: [columns, columns], symmetric, dampened: its diagonal is positive.
        pruned: boolean [columns, rows]; None where nothing is.
        scale: [groups, rows].
        zero: [groups, rows], zero points; None where all are 0.
        low: the smallest code.
        high: the largest code.
    """

    values: torch.Tensor
    target: torch.Tensor
    error: torch.Tensor
    hessian: torch.Tensor
    pruned: torch.Tensor | None
    scale: torch.Tensor
    zero: torch.Tensor | None
    low: float
    high: float

    @property
    def group(self) -> int:
        """Columns that share a scale."""
        return len(self.values) // len(self.scale)

    def zeros(self, group: int | torch.Tensor) -> torch.Tensor | None:
        """Zero points of one group, or of several."""
        return None if self.zero is None else self.zero[group]

    def nearest_(
        self, wanted: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None
    ) -> torch.Tensor:
        """Replaces ``wanted`` by the nearest points of the grid.

        Scales and zero points are of its shape or broadcast to it.
        """
        wanted.div_(scale)
        if zero is not None:
            wanted.add_(zero)
        wanted.clamp_(self.low, self.high).round_()
        if zero is not None:
            wanted.sub_(zero)
        return wanted.mul_(scale)

    def loss(self) -> torch.Tensor:
        """[rows], the error of each row of the matrix, float64."""
        error = self.error.double()
        return ((self.hessian.double() @ error) * error).sum(0)


def sweep(fit: Fit) -> None:
    """Gives every column in turn its best values, the others being as they are."""
    for start in range(0, len(fit.values), WIDTH):
        block(fit, start, min(start + WIDTH, len(fit.values)))


def block(fit: Fit, start: int, stop: int) -> torch.Tensor:
    """The steps of the columns ``start`` to ``stop``; G of these afterwards, [columns, rows]."""
    q, hessian = fit.values, fit.hessian[start:stop, start:stop]
    gradient = fit.hessian[start:stop] @ fit.error
    moves = torch.zeros_like(gradient)
    diagonal = hessian.diagonal().tolist()
    for i, j in enumerate(range(start, stop)):
        # the moves of this block so far are not in the gradient yet
        slope = torch.addmv(gradient[i], moves[:i].t(), hessian[i, :i]) if i else gradient[i]
        wanted = torch.sub(q[j], slope, alpha=1 / diagonal[i])
        group = j // fit.group
        found = fit.nearest_(wanted, fit.scale[group], fit.zeros(group))
        if fit.pruned is not None:
            found.masked_fill_(fit.pruned[j], 0.0)
        torch.sub(found, q[j], out=moves[i])
        q[j] = found
    torch.sub(q[start:stop], fit.target[start:stop], out=fit.error[start:stop])
    return gradient.addmm_(hessian, moves)
