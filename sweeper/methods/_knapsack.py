"""The multiple-choice knapsack: one option for each item, least total value within a budget."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


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
