"""Which cells of a plan race each other: those of one model and rate, of several methods."""

from __future__ import annotations

from fractions import Fraction

from sweeper.planning.cells import basis
from sweeper.planning.cells.cell import Cell


def rate(cell: Cell) -> tuple[str, Fraction]:
    """Model and compression rate (TCr), which rivals have in common."""
    return str(cell.model["name"]), Fraction(cell.tcr).limit_denominator(10**6)


def method(cell: Cell) -> str:
    """What a cell is but for its model's name and its calibration seed; see `METHOD` of results."""
    text = cell.calibration.dict if cell.calibration else {}
    return repr(
        (
            cell.pruning,
            cell.quantization,
            cell.model.dict.get("compressed"),
            basis.steps(cell.model).get(basis.ROTATE),
            {name: value for name, value in text.items() if name != "seed"},
        )
    )
