"""``quant.profile: allocated`` - a number of bits for each matrix, from measured layer errors.

Among all choices of one of ``widths`` for each matrix whose mean, weighted by parameters, is at
most the label's bits, the one with the least sum of errors is taken
(see `sweeper.stages.sensitivity.stage`). What is then left of the budget is less than any matrix's
step to its next width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.methods.allocation.solver import best, raised


def bits(table: Mapping[str, Any], mean: float) -> dict[str, int]:
    """Name of a matrix -> its bits per weight.

    Args:
        table: ``widths``, ascending, and for each of ``matrices`` its ``weights`` and
            ``errors``, of the widths in this order.
        mean: bits per weight of all matrices together, at most.
    """
    widths, rows = table["widths"], table["matrices"]
    errors = [row["errors"] for row in rows.values()]
    costs = [[row["weights"] * width for width in widths] for row in rows.values()]
    budget = mean * sum(row["weights"] for row in rows.values())
    chosen = raised(best(errors, costs, budget), errors, costs, budget)
    return {name: widths[option] for name, option in zip(rows, chosen, strict=True)}
