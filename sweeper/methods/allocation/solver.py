"""One option for each matrix, the least sum of errors within a budget: what allocations share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

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


class NothingFits(Exception):
    """Even the cheapest options are above the budget."""


def least(values: npt.NDArray[np.float64], costs: npt.NDArray[np.int64], budget: int) -> list[int]:
    """The option of each item, by dynamic programming over whole budgets; exact.

    Time and memory grow with items x options x budget, so costs should have no common divisor.

    Args:
        values: [items, options], what is minimised in sum.
        costs: [items, options], each at least 0.
        budget: the most that all options may cost together.

    Raises:
        NothingFits: there is no such choice.
    """
    if costs.min(axis=1).sum() > budget:
        raise NothingFits
    # least value of the items so far at a cost of at most the index
    best = np.zeros(budget + 1)
    chosen = np.zeros((len(values), budget + 1), dtype=np.int16)
    for item, (value, cost) in enumerate(zip(values, costs, strict=True)):
        found = np.full(budget + 1, np.inf)
        for option in range(len(value)):
            if cost[option] > budget:
                continue
            there = found[cost[option] :]
            tried = best[: len(there)] + value[option]
            better = tried < there
            np.copyto(there, tried, where=better)
            np.copyto(chosen[item, cost[option] :], option, where=better)
        best = found
    return _traced(chosen, costs, budget)


def _traced(chosen: npt.NDArray[np.int16], costs: npt.NDArray[np.int64], budget: int) -> list[int]:
    """The options along the best path, from the last item back to the first."""
    path: list[int] = []
    left = budget
    for item in reversed(range(len(chosen))):
        option = int(chosen[item, left])
        path.append(option)
        left -= int(costs[item, option])
    return path[::-1]
