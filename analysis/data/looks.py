"""Earlier looks at a sweep that grew, and its scores as they were at one of them.

A test that is valid for one look is none where documents were added after it was seen. What was
asked by then is the first so many documents of every subtask.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from analysis.metrics import wilson_stderr

if TYPE_CHECKING:
    from analysis.data.panel import Panel


def said(limits: Iterable[int]) -> str:
    """Numbers of documents, as the column ``looks`` of scores has them."""
    return " ".join(str(limit) for limit in sorted(set(limits)))


def read(text: str) -> tuple[int, ...]:
    """What `said` wrote."""
    return tuple(int(word) for word in text.split())


def earlier(panel: Panel) -> list[Panel]:
    """The panel as it was at each earlier look, oldest first.

    A task that was not asked more documents since is as it is now. Looks at which it is not known
    which documents were asked (without scores of documents) are left out, which costs a verdict
    that fell then and makes no false one.
    """
    count = max((len(limits) for limits in panel.looks), default=0)
    found = []
    for look in range(count):
        limits = [own[min(look, len(own) - 1)] if own else np.inf for own in panel.looks]
        if (one := _at(panel, limits)) is not None:
            found.append(one)
    return found


def _at(panel: Panel, limits: list[float]) -> Panel | None:
    """The panel on the first so many documents of each subtask of each task."""
    value, stderr, n = panel.value.copy(), panel.stderr.copy(), panel.n.copy()
    samples = list(panel.samples)
    for task, limit in enumerate(limits):
        whole = samples[task]
        if not np.isfinite(limit):
            continue
        one = None if whole is None else whole.first(limit)
        if one is None:
            return None
        samples[task], count = one, one.numerator.shape[1]
        error = np.sqrt((one.influence**2).sum(axis=1))
        certain = one.binary & (error == 0) & one.shared
        error[certain] = wilson_stderr(one.scores[certain], np.full(int(certain.sum()), count))
        value[:, task], n[:, task] = one.scores, np.where(one.shared, count, np.nan)
        stderr[:, task] = np.where(one.shared, error, np.nan)
    fresh = replace(panel, value=value, stderr=stderr, n=n, looks=((),) * len(panel.tasks))
    fresh.__dict__["samples"] = tuple(samples)
    return fresh
