"""Holm's correction: several tests, one level (1979, *Scand. J. Statistics* 6, 65)."""

from __future__ import annotations

import numpy as np

from analysis.metrics import Array


def holm(p: Array) -> Array:
    """Holm's step-down p values of one family; nan (not tested) stays nan and does not count."""
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else steps
    return adjusted


def holm_rows(p: Array) -> Array:
    """Holm's p values of many families at once: (R, m) without gaps, a family a row."""
    order = np.argsort(p, axis=1)
    steps = np.take_along_axis(p, order, axis=1) * np.arange(p.shape[1], 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(
        adjusted, order, np.minimum(np.maximum.accumulate(steps, axis=1), 1.0), axis=1
    )
    return adjusted
