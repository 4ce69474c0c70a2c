"""``prune.profile: allocated`` of low rank - a rank for each matrix, from measured layer errors.

The budget are the parameters that uniform ranks leave at the sparsity of the label, so that
both checkpoints are of one size. A matrix that would keep them all stays whole, without
any error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.methods.allocation.solver import best
from sweeper.methods.low_rank.rank import factors_of, rank_of, ranks

Shape = tuple[int, int]


def shares(table: Mapping[str, Any], removed: float) -> dict[str, float]:
    """Name of a matrix -> share of its parameters that goes; 0: it stays whole.

    `rank_of` of a share is the rank that was meant.

    Args:
        table: ``levels`` and, for each of ``matrices``, ``shape`` and ``errors``: whole, then at
            the ranks that remove 1/levels, 2/levels ... of it.
        removed: share of the parameters of all matrices together.
    """
    rows = list(table["matrices"].values())
    shapes = [(row["shape"][0], row["shape"][1]) for row in rows]
    options = [ranks(shape, table["levels"]) for shape in shapes]
    errors = [row["errors"] for row in rows]
    costs = [_costs(shape, each) for shape, each in zip(shapes, options, strict=True)]
    budget = sum(factors_of(shape, rank_of(*shape, removed)) for shape in shapes)
    chosen = best(errors, costs, budget)
    found = [each[k] for each, k in zip(options, chosen, strict=True)]
    left = budget - sum(cost[k] for cost, k in zip(costs, chosen, strict=True))
    slopes = [_slope(e, c, k) for e, c, k in zip(errors, costs, chosen, strict=True)]
    _raise(found, left, slopes, shapes)
    given = zip(shapes, found, strict=True)
    removed_of = [0.0 if r is None else 1 - factors_of(s, r) / (s[0] * s[1]) for s, r in given]
    return dict(zip(table["matrices"], removed_of, strict=True))


def _costs(shape: Shape, options: list[int | None]) -> list[int]:
    return [shape[0] * shape[1] if r is None else factors_of(shape, r) for r in options]


def _slope(errors: list[float], costs: list[int], option: int) -> float:
    """How much the error falls for a parameter more, towards the option before."""
    if option == 0 or costs[option - 1] == costs[option]:
        return 0.0
    return (errors[option] - errors[option - 1]) / (costs[option - 1] - costs[option])


def _raise(found: list[int | None], left: int, slopes: list[float], shapes: list[Shape]) -> None:
    """Spends what is left on single ranks, where a parameter lowers the error the most."""
    for i in sorted(range(len(found)), key=lambda i: -slopes[i]):
        rank, (rows, columns) = found[i], shapes[i]
        if rank is not None:
            # of a rank with as many parameters as the matrix, the matrix would be left
            most = (rows * columns - 1) // (rows + columns)
            more = min(left // (rows + columns), most - rank)
            found[i] = rank + more
            left -= more * (rows + columns)
