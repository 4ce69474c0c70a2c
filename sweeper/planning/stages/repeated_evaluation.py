"""The dense model scored again: cells that show how far equal evaluations are apart.

Such a cell has the checkpoint of the dense one and evaluations of its own. It is compared
with the dense cell only, in the report's noise floor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sweeper.errors import BadInput
from sweeper.planning.cells.cell import RERUNS, Cell

_KEY = f"tasks.{RERUNS}"


def asked(section: Mapping[str, Any]) -> int:
    """How many are asked for by the `tasks` section.

    Raises:
        BadInput: a number below 0, or nothing that could be scored again.
    """
    count: int = section[RERUNS]
    if count < 0:
        raise BadInput(_KEY, count, "0 or more.")
    if count and not section["names"]:
        raise BadInput(_KEY, count, "this sweep scores nothing: tasks.names is empty.")
    return count


def of(cell: Cell, count: int) -> list[Cell]:
    """The dense cell ``count`` times more; none of any other cell."""
    return [replace(cell, rerun=n) for n in range(1, count + 1)] if cell.dense else []


def check(cells: Iterable[Cell], wanted: Mapping[str, int]) -> None:
    """Refuse reruns of a model whose dense cell is not in the plan.

    Args:
        cells: of the plan.
        wanted: name of a model -> how many reruns were asked for with its cells.

    Raises:
        BadInput: naming the model.
    """
    dense = {cell.model["name"] for cell in cells if cell.dense}
    for model, count in wanted.items():
        if count and model not in dense:
            raise BadInput(
                _KEY,
                count,
                f"the dense cell of {model} is scored again, and it is not in this plan.",
                "Add the cell with sparsity 0 and 16 bit.",
            )
