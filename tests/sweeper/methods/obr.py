"""Compensation between pruning and quantization in closed form, after OBR, for reference.

Optimal Brain Restoration (arXiv:2509.11177) splits the weights of a row into a group E whose
error e_E is given and a group R that makes up for it. With the layer's Hessian H the loss
e H eᵀ is least at

    e_R = -H_RR⁻¹ H_RE e_E

It is applied twice: E are the pruned weights, R those that are kept; then E is a first part
of the kept weights, rounded, and R the rest, which is rounded last. Written from these
equations alone, without the rotations that the paper applies before.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Rounding = Callable[[torch.Tensor], torch.Tensor]


def compensated(
    weight: torch.Tensor, error: torch.Tensor, given: torch.Tensor, hessian: torch.Tensor
) -> torch.Tensor:
    """The weights outside of ``given``, moved to make up for the errors in it.

    Args:
        weight: [columns], a row.
        error: [columns], what was added to it in ``given``; ignored elsewhere.
        given: boolean [columns].
        hessian: [columns, columns], damped.
    """
    owed = hessian[~given][:, given] @ error[given]
    moved = weight.clone()
    moved[~given] -= torch.linalg.solve(hessian[~given][:, ~given], owed)
    return moved


def restored(weight: torch.Tensor, kept: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Each row without the weights that are not kept, the others moved to make up for them."""
    pairs = zip(weight, kept, strict=True)
    return torch.stack([compensated(row, -row, ~mask, hessian) * mask for row, mask in pairs])


def rounded_in_two(
    weight: torch.Tensor, kept: torch.Tensor, hessian: torch.Tensor, nearest: Rounding, share: float
) -> torch.Tensor:
    """Each row on its grid: the first ``share`` of the kept weights is rounded, then the rest.

    ``nearest`` rounds a matrix [rows, columns].
    """
    result = torch.zeros_like(weight)
    first = nearest(weight)
    moved = torch.zeros_like(weight)
    for row, mask in enumerate(kept):
        index = mask.nonzero().flatten()
        given = torch.zeros(len(index), dtype=torch.bool)
        given[: round(share * len(index))] = True
        part = hessian[index][:, index]
        w, q = weight[row, index], first[row, index]
        moved[row, index] = compensated(w, q - w, given, part)
        result[row, index[given]] = q[given]
    last = nearest(moved)
    return torch.where(result == 0, last * kept, result)
