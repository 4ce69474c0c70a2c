"""Bits that scales and zero points take in a checkpoint's files, per weight of its matrices.

Counted as the files hold them, so that a plan and a measurement of what it made agree exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from sweeper.methods import Params

_WORD = 32
_FLOAT_BITS = {"float32": 32, "bfloat16": 16, "float16": 16}

MatrixBits = Callable[[int, int], int]
"""Bits of all scales and zero points of a matrix of so many (rows, columns)."""


def mean(params: Params, of_matrix: MatrixBits) -> float:
    """Bits per weight over all matrices of ``params["shapes"]``; 0 where there are none."""
    shapes = list(params["shapes"].values())
    weights = sum(rows * columns for rows, columns in shapes)
    return sum(of_matrix(rows, columns) for rows, columns in shapes) / weights if weights else 0.0


def of_grid(params: Params) -> float:
    """A uniform grid as compressed-tensors stores it.

    Each group has a scale in ``save_dtype``; where the grid is not symmetric, a zero point as
    wide as a code too, packed down the rows into words of 32 bits.

    Args:
        params: see `sweeper.methods.Quantizer`; with ``group_size`` -1 a row is a group. Where
            bits are allocated, a zero point counts with the mean that the label says.
    """
    size, symmetric, bits = params["group_size"], params["symmetric"], params["bits"]
    scale = _FLOAT_BITS[params["save_dtype"]]

    def of_matrix(rows: int, columns: int) -> int:
        groups = 1 if size == -1 else ceil(columns / size)
        column = rows * scale + (0 if symmetric else _WORD * ceil(rows * bits / _WORD))
        return groups * column

    return mean(params, of_matrix)
