"""How far a single score may be off: limits that have width at 0 and 1 too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.metrics import Array

LEVEL = 0.95
_Z = float(stats.norm.ppf((1 + LEVEL) / 2))


def limits(value: Array, stderr: Array, n: Array, share: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Lower and upper limits of single scores, each at `LEVEL`.

    Shares of right answers have those of Agresti and Coull (1998, *American Statistician* 52,
    119), which contain Wilson's and cover where those fall short, with p (1 - p) / se^2 for the
    number of documents, so that subtasks and scores between 0 and 1 count as what they tell; at 0
    and 1 with n. Others, and edges without n, have p -+ z se.

    Args:
        value: scores.
        stderr: their standard errors.
        n: documents; nan where unknown.
        share: whether a score is one that cannot leave 0..1.
    """
    inside = share & (value > 0) & (value < 1) & (stderr > 0)
    edge = share & ((value == 0) | (value == 1)) & (n > 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        count = np.where(inside, value * (1 - value) / stderr**2, n) + _Z**2
        centre = (value * (count - _Z**2) + _Z**2 / 2) / count
        half = _Z * np.sqrt(centre * (1 - centre) / count)
        low, high = value - _Z * stderr, value + _Z * stderr
    known = inside | edge
    return np.where(known, centre - half, low), np.where(known, centre + half, high)
