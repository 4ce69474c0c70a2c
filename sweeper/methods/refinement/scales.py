"""Least-squares scales: the codes stay, and each group's scale is fitted to what they stand for.

With Q = s c in one group of a row and all else as it is, the error is a parabola in s. It is
lowest at s - (c . G) / (c H c^T); the group takes that scale as it would be saved, and only where
the error then is lower. COMQ (arXiv:2403.07134) takes codes and scales in
turn so, coordinate by coordinate.
"""

from __future__ import annotations

import torch

from sweeper.methods.refinement.descent import Fit


def rescale(fit: Fit, saved: torch.dtype) -> None:
    """Fits the scales of one group of columns after the other, all rows at once.

    Args:
        fit: changed in place.
        saved: the type in which scales are stored; a scale is rounded to it before it is judged.
    """
    width = fit.group
    for index, start in enumerate(range(0, len(fit.values), width)):
        columns = slice(start, start + width)
        scale = fit.scale[index]
        codes = (fit.values[columns] / scale).round_()
        slope = ((fit.hessian[columns] @ fit.error) * codes).sum(0)
        curve = ((fit.hessian[columns, columns] @ codes) * codes).sum(0)
        best = (scale - slope / curve).to(saved).to(scale.dtype)
        step = best - scale
        # not a number where a group has no code but 0, and then no better
        better = (step * (step * curve + 2 * slope) < 0) & (best > 0) & best.isfinite()
        fit.scale[index] = torch.where(better, best, scale)
        fit.values[columns] = codes * fit.scale[index]
        torch.sub(fit.values[columns], fit.target[columns], out=fit.error[columns])
