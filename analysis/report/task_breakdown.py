"""Where tasks break: retention of every task and cell, and answers in which nothing was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.comparison.summary import summarise
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.metrics import Array
from analysis.output.figure import ON_DARK, ON_LIGHT, Figure, canvas, finished
from analysis.output.table import STOPPED, Column, Table, several
from analysis.output.text import short
from analysis.report.figures.kinds import FONT, LABEL, WIDTH, titled
from analysis.report.tables import stopped_notes

MOST_CELLS, MOST_TASKS = 45, 60
FEWEST_TASKS = 3


def heat_maps(panels: Sequence[Panel]) -> Iterator[Figure]:
    """One map per model: cells by rising TCr, tasks across."""
    for panel in panels:
        if len(panel.tasks) >= FEWEST_TASKS and len(panel.cells) > 1 and panel.counted.any():
            yield _heat_map(panel)


def _heat_map(panel: Panel) -> Figure:
    kept = panel.retentions().value
    rows = np.flatnonzero(np.isfinite(kept).any(axis=1))[:MOST_CELLS]
    tasks = np.flatnonzero(np.isfinite(kept).any(axis=0))
    # Of many tasks those that break most: that is what one looks for.
    tasks = np.sort(tasks[np.argsort(np.nanmean(kept[:, tasks], axis=0))][:MOST_TASKS])
    names, rates = labels(panel), summarise([panel])["tcr"].to_numpy(float)
    shown = kept[np.ix_(rows, tasks)]
    size = max(WIDTH, 2.4 + 0.4 * len(tasks)), 1.9 + 0.3 * len(rows)
    with canvas(*size, font=FONT) as (drawing, (axes,)):
        axes.grid(False)
        axes.pcolormesh(shown, cmap="cividis", vmin=0, vmax=1)
        axes.invert_yaxis()
        axes.set_yticks(
            np.arange(len(rows)) + 0.5, [f"{short(names[r])}  {100 * rates[r]:.5g} %" for r in rows]
        )
        axes.set_xticks(
            np.arange(len(tasks)) + 0.5,
            [short(panel.tasks[t]) for t in tasks],
            rotation=60,
            ha="right",
        )
        for at in np.argwhere(np.isfinite(shown)) if shown.size <= 400 else ():
            value = shown[tuple(at)]
            axes.text(
                at[1] + 0.5,
                at[0] + 0.5,
                f"{100 * value:.0f}",
                ha="center",
                va="center",
                fontsize=LABEL,
                color=ON_LIGHT if value > 0.6 else ON_DARK,
            )
        titled(drawing, _finding(panel, kept))
        left = int(np.isfinite(kept).any(axis=0).sum()) - len(tasks)
        rest = f" {left} tasks that keep more are left out." if left else ""
        caption = (
            f"{panel.model}: retention of every task in every cell, in percent of the "
            f"dense score, dark (nothing) to light (all); a blank is a gap.{rest}"
        )
        return finished(drawing, "heat_map", panel.model, caption)


def _finding(panel: Panel, kept: Array) -> str:
    """The deepest fall: which task, and in which cell."""
    if not np.isfinite(kept).any():
        return "Retention by task"
    row, task = np.unravel_index(int(np.nanargmin(kept)), kept.shape)
    cell, name = short(labels(panel)[row]), short(panel.tasks[task])
    return f"The deepest fall: {name} keeps {100 * kept[row, task]:.0f} % in {cell}"


def answers_table(panels: Sequence[Panel]) -> Table:
    """Generative tasks: right, wrong, and answers in which nothing was found to score.

    A model that can no longer put its answer in the asked form fails in another way than one
    that reasons wrongly; a score alone cannot tell.
    """
    rows = [row for panel in panels for row in _answers(panel)]
    columns = (
        Column(key="model", title="Model"),
        Column(key="label", title="Cell"),
        Column(key="task", title="Task"),
        *several(
            "percent",
            1,
            right="Right",
            wrong="Wrong",
            unread="No answer found",
            of_read="Right of those read",
        ),
    )
    note = (
        "“Right of those read” leaves out answers in which nothing was found: it falls only "
        "if the model answers worse, not if it forgets the form."
    )
    return Table(
        name="answers",
        caption="Wrong answers, and answers that could not be read",
        columns=columns,
        rows=pd.DataFrame(rows),
        notes=(note, *stopped_notes(panels)),
    )


def _answers(panel: Panel) -> Iterator[dict[str, object]]:
    names = labels(panel)
    for row, task in np.argwhere(np.isfinite(panel.unextracted) & (panel.n > 0)):
        right, unread = panel.shown[row, task], panel.unextracted[row, task] / panel.n[row, task]
        yield {
            "model": panel.model,
            "label": names[row],
            "task": panel.tasks[task],
            "right": right,
            "right_mark": STOPPED if panel.stopped[row, task] else "",
            "wrong": 1 - right - unread,
            "unread": unread,
            "of_read": right / (1 - unread) if unread < 1 else np.nan,
        }
