"""Kept weights refitted on their support: the least-squares weights of a layer whose mask is fixed.

Preconditioned conjugate gradients on (W' - W) H restricted to what is kept (ALPS, arXiv:2406.07831,
section 3.3), all rows at once, each with steps of its own length.

Where a massive token drives a matrix, the diagonal of H is that of one direction, and as a
preconditioner it says nothing of the rest: 20 steps then miss the exact error by 1e-3 to 2e-3 of
it. So the first direction is taken out of the diagonal and put back as it is, a matrix of rank one,
whose inverse on each row's support is known (Sherman and Morrison).

A Cholesky factor per row would be exact and take rows x columns^3 operations; k steps take
k x rows x columns^2.
"""

from __future__ import annotations

import torch

from sweeper.methods.hessian import first_direction


def refit(
    weight: torch.Tensor,
    target: torch.Tensor,
    kept: torch.Tensor,
    hessian: torch.Tensor,
    steps: int,
) -> torch.Tensor:
    """Weights on the support ``kept`` whose output is nearer to that of ``target``.

    Args:
        weight: [rows, columns], where to begin; 0 where not kept.
        target: [rows, columns].
        kept: boolean [rows, columns].
        hessian: [columns, columns], symmetric, dampened.
        steps: of conjugate gradients; each lowers tr (W' - W) H (W' - W)^T.

    Returns:
        [rows, columns], 0 where not kept.
    """
    found, support = weight.clone(), kept.to(weight.dtype)
    precondition = _Preconditioner(hessian, support)
    residual = ((target - found) @ hessian) * support
    direction = precondition(residual)
    size = (residual * direction).sum(1, keepdim=True)
    for _ in range(steps):
        turned = (direction @ hessian) * support
        length = _ratio(size, (direction * turned).sum(1, keepdim=True))
        found += length * direction
        residual -= length * turned
        scaled = precondition(residual)
        before, size = size, (residual * scaled).sum(1, keepdim=True)
        direction = scaled + _ratio(size, before) * direction
    return found


class _Preconditioner:
    """The inverse of diag(H - c u u^T) + c u u^T on each row's support, u the first direction.

    With c u u^T taken out, H has the mean of its other eigenvalues along u.
    """

    def __init__(self, hessian: torch.Tensor, support: torch.Tensor) -> None:
        largest, direction = first_direction(hessian)
        diagonal = hessian.diagonal()
        others = (float(diagonal.sum()) - largest) / max(1, len(diagonal) - 1)
        excess = max(0.0, largest - others)
        left = diagonal - excess * direction.square()
        # rounding of the direction can take more than there is
        self._diagonal = left.clamp_min(1e-3 * max(others, 0.0) + 1e-30)
        self._along = direction * support
        self._turned = self._along / self._diagonal
        self._by = excess / (1 + excess * (self._along * self._turned).sum(1, keepdim=True))

    def __call__(self, residual: torch.Tensor) -> torch.Tensor:
        """What is 0 outside of the support stays so."""
        scaled = residual / self._diagonal
        return scaled - self._turned * (self._by * (self._along * scaled).sum(1, keepdim=True))


def _ratio(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """The quotient; 0 for a row that has arrived."""
    return torch.where(below > 0, above / below, torch.zeros_like(above))
