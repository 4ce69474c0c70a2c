"""One option for each matrix, the least sum of errors within a budget: what allocations share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sweeper.methods._knapsack import NothingFits, least

WIDEST = 2**16
"""Units of a budget that are told apart; more are rounded, to the safe side."""


def best(
    errors: Sequence[Sequence[float]], costs: Sequence[Sequence[int]], budget: float
) -> list[int]:
    """The option of each matrix.

    Exact while the budget has at most `WIDEST` units of what all costs can be divided by;
    beyond, a cost counts as up to one part in `WIDEST` of the budget more than it is.

    Args:
        errors: [matrices, options], what is minimised in sum.
        costs: [matrices, options], whole numbers.
        budget: the most that all options may cost together.

    Raises:
        NothingFits: even the cheapest options cost more.
    """
    cost = np.array(costs, dtype=np.int64)
    # 2/3 of a whole number may come out a hair below one
    room = int(budget * (1 + 1e-12)) - int(cost.min(axis=1).sum())
    if room < 0:
        raise NothingFits
    # counted from the cheapest option of each matrix, so that those always fit
    extra = cost - cost.min(axis=1, keepdims=True)
    unit = int(np.gcd.reduce(extra, axis=None)) or 1
    step = unit * max(1, -(-room // (unit * WIDEST)))
    return least(np.array(errors), -(-extra // step), room // step)


def raised(
    chosen: Sequence[int],
    errors: Sequence[Sequence[float]],
    costs: Sequence[Sequence[int]],
    budget: float,
) -> list[int]:
    """The options after what was left of the budget is spent too.

    Options are in the order of their costs. As long as some matrix can have its next one, the
    one whose error falls most for what it costs gets it; in the end none can.

    Args:
        chosen: the options that `best` found.
        errors: as in `best`.
        costs: as in `best`, each row ascending.
        budget: as in `best`.
    """
    assert all(a < b for row in costs for a, b in pairwise(row))
    options = list(chosen)
    left = int(budget * (1 + 1e-12)) - sum(c[k] for c, k in zip(costs, options, strict=True))
    while True:
        fitting = {
            i: (errors[i][k] - errors[i][k + 1]) / (costs[i][k + 1] - costs[i][k])
            for i, k in enumerate(options)
            if k + 1 < len(costs[i]) and costs[i][k + 1] - costs[i][k] <= left
        }
        if not fitting:
            return options
        i = max(fitting, key=lambda i: fitting[i])
        left -= costs[i][options[i] + 1] - costs[i][options[i]]
        options[i] += 1
