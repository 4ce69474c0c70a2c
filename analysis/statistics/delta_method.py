"""Values of any smooth function of a panel's scores, with first-order standard errors.

The function sees the scores of all cells that it needs at once, the dense one among them,
so what they share (the baseline, documents answered by several) is counted once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from analysis.data.panel import Panel
from analysis.metrics import Array

Function = Callable[[Array], float]
_STEP = 1e-6


def propagate(panel: Panel, rows: Sequence[int], function: Function) -> tuple[float, float]:
    """(value, standard error) of `function` at the scores of some cells.

    se^2 = sum over tasks of g' C g, g being the gradient (central differences) and C the
    covariance of the cells' scores on that task: diagonal unless documents are known.

    Args:
        panel: the scores.
        rows: k rows of the panel; one that appears twice is one measurement.
        function: of a (k, T) array of scores; tasks are independent of each other.

    Returns:
        Both are nan where a needed score cannot be compared with the baseline's.
    """
    scores = panel.comparable()[np.asarray(rows, dtype=int)]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(function(scores))
        gradient = _gradient(function, scores)
    if not np.isfinite(value):
        return float("nan"), float("nan")
    distinct, place = np.unique(np.asarray(rows, dtype=int), return_inverse=True)
    variance = 0.0
    for task in range(scores.shape[1]):
        slope = np.bincount(place, gradient[:, task], len(distinct))
        if slope.any():
            variance += float(slope @ panel.covariance(task, [int(r) for r in distinct]) @ slope)
    return value, float(np.sqrt(variance)) if variance >= 0 else float("nan")


def _gradient(function: Function, scores: Array) -> Array:
    """(k, T) by central differences; a score that is absent has none."""
    gradient = np.zeros(scores.shape)
    for place in zip(*np.nonzero(np.isfinite(scores)), strict=True):
        step = _STEP * max(1.0, abs(scores[place]))
        up, down = scores.copy(), scores.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (function(up) - function(down)) / (2 * step)
    return gradient
