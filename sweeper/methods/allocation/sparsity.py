"""``prune.profile: allocated`` - a sparsity for each matrix, from measured errors of layers.

Among all choices of one of ``levels`` shares (0, 1/levels, ...) for each matrix that leave the
sparsity of the label, the one with the least sum of errors is taken
(see `sweeper.stages.sensitivity.stage`). What the shares cannot divide is given to one matrix, so
that the whole has the sparsity of its label to the weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.methods.allocation.solver import best


def sparsities(table: Mapping[str, Any], sparsity: float) -> dict[str, float]:
    """Name of a matrix -> share of its weights to prune.

    Args:
        table: ``levels`` and, for each of ``matrices``, ``weights`` and ``errors``: of shares
            0, 1/levels, 2/levels ... in this order.
        sparsity: of all matrices together.
    """
    levels, rows = int(table["levels"]), table["matrices"]
    sizes = [int(row["weights"]) for row in rows.values()]
    errors = [row["errors"] for row in rows.values()]
    kept = [[n * (levels - k) for k in range(levels)] for n in sizes]
    chosen = best(errors, kept, (1 - sparsity) * sum(sizes) * levels)
    shares = [option / levels for option in chosen]
    surplus = sum(s * n for s, n in zip(shares, sizes, strict=True)) - sparsity * sum(sizes)
    _give_back(shares, surplus, errors, chosen, sizes)
    return dict(zip(rows, shares, strict=True))


def _give_back(
    shares: list[float],
    surplus: float,
    errors: list[list[float]],
    chosen: list[int],
    sizes: list[int],
) -> None:
    """Keeps ``surplus`` weights more, where a weight lowers the error the most."""
    gains = {i: (errors[i][k] - errors[i][k - 1]) / sizes[i] for i, k in enumerate(chosen) if k > 0}
    for i in sorted(gains, key=lambda i: -gains[i]):
        given = min(surplus, shares[i] * sizes[i])
        shares[i] -= given / sizes[i]
        surplus -= given
