"""Which cell to take when only so many bytes fit, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.comparison.summary import values
from analysis.comparison.verdicts import compare
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.metrics import Array, Definition
from analysis.output.table import ACROSS, Column, Table, if_any
from analysis.output.text import NAMES, listed
from analysis.statistics.intervals import sr_intervals

MOST_COMPARED = 60
MOST_NAMED = 6  # the nearest rivals; a page has no room for sixty


def choice_table(panels: Sequence[Panel], by: Definition = "sr2") -> Table:
    """Per model the best cell of every budget: a row wherever a better one begins to fit.

    A budget admits every cell whose checkpoint is no larger; the sizes are those of the
    files. Which do not differ significantly from the best comes from all pairs of what
    fits.
    """
    rows = pd.DataFrame([row for panel in panels for row in _choices(panel, by)])
    columns = (
        Column(key="model", title="Model"),
        Column(key="budget", title="Up to, MB", form="megabytes", digits=1),
        Column(key="label", title="Best"),
        Column(key="sr", title=f"{NAMES[by]} (95 % CI)", form="difference"),
        Column(key="sure", title="Significant?"),
        Column(key="instead", title="Not significantly different"),
        *if_any(rows, ACROSS),
    )
    notes = (
        "A budget admits every cell whose files are no larger, whatever its nominal rate; a "
        "row stands until the next. Holm's correction over all pairs of what fits (of more "
        f"than {MOST_COMPARED} cells, of the best); for these checkpoints.",
    )
    return Table(
        name=f"choice_{by}",
        caption=f"Best configuration per size budget, by {NAMES[by]}",
        columns=columns,
        rows=rows,
        notes=notes,
        definition=by,
    )


def _choices(panel: Panel, by: Definition) -> list[dict[str, object]]:
    size = panel.cells["bytes"].to_numpy(float)
    estimate, names = values(panel, by), labels(panel)
    usable = np.flatnonzero(np.isfinite(size) & np.isfinite(estimate.value))
    rows: list[dict[str, object]] = []
    for budget in _steps(size[usable], estimate.value[usable]):
        every = [int(row) for row in usable if size[row] <= budget]
        fitting = sorted(every, key=lambda row: -estimate.value[row])[:MOST_COMPARED]
        verdict = compare(panel, fitting, by, nominal=False)
        best = verdict.ranked[0]
        tied = [names[row] for row in verdict.best if row not in (best, *verdict.own)]
        (ends,) = sr_intervals(panel, by, [(best, None)])
        rows.append(
            {
                "model": panel.model,
                "cell": panel.cells["cell"].iat[best],
                "budget": budget,
                "label": names[best],
                "bytes": size[best],
                "sr": estimate.value[best],
                "sr_stderr": estimate.stderr[best],
                "sr_low": ends.low,
                "sr_high": ends.high,
                "sure": _sure(len(every), len(tied)),
                "instead": listed(tied, MOST_NAMED, ", "),
                "every_tied": ", ".join(tied),
                "across": verdict.across,
            }
        )
    return rows


def _steps(size: Array, value: Array) -> list[float]:
    """The budgets at which a better cell begins to fit."""
    steps, best = [], -np.inf
    for budget in sorted(set(size.tolist())):
        now = float(value[size <= budget].max())
        steps += [budget] if now > best else []
        best = max(best, now)
    return steps


def _sure(fitting: int, tied: int) -> str:
    if fitting == 1:
        return "the only one that fits"
    return "yes" if not tied else f"undecided among {tied + 1} of {fitting}"
