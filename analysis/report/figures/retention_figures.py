"""Retention against TCr and against size, and the spread over tasks of every cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparison.equal_size import equal_size, served_bytes
from analysis.comparison.size import front
from analysis.comparison.summary import summarise
from analysis.comparison.verdicts import Verdict, defined, verdicts
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.metrics import Definition
from analysis.output.figure import Figure, bars, canvas, finished, points, settle
from analysis.output.label_placement import place
from analysis.output.text import NAMES, megabytes, percent, short
from analysis.report.figures import published_points
from analysis.report.figures.kinds import FAINT, FONT, KIND_NAMES, KIND_STYLE, LABEL, WIDTH, titled

MOST_ROWS = 40
MOST_LABELS = 36
MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """What retention is drawn against: a column, and how it reads."""

    name: str
    column: str
    scale: float
    label: str
    said: str
    together: str


_RATE = _Axis(
    name="tcr",
    column="tcr",
    scale=100.0,
    label="Theoretical compression rate, TCr (%)",
    said="TCr",
    together="Cells on one vertical compete at equal TCr.",
)
_SIZE = _Axis(
    name="size",
    column="served",
    scale=1e-6,
    label="Size as served (MB), smaller to the right",
    said="the size of the files as served",
    together="Cells on one vertical take equally many bytes.",
)


def retention_over(panels: Sequence[Panel]) -> Iterator[Figure]:
    """Per model and definition of Sr: against TCr, and against the size of the files."""
    for panel in panels:
        table = summarise([panel]).assign(name=labels(panel), served=served_bytes(panel))
        for by in ("sr2", "sr1"):
            rates = [(v, percent(v.tcr or 0)) for v in verdicts(panel, by)]
            sizes = [(v, megabytes(size)) for size, v in equal_size(panel, by)]
            yield from _against(panel, table, by, _RATE, _finding(panel, "TCr", rates))
            yield from _against(panel, table, by, _SIZE, _finding(panel, "size", sizes))


def _finding(panel: Panel, what: str, groups: Sequence[tuple[Verdict, str]]) -> str:
    """Which cell keeps the most where several compete; the most compressed groups."""
    names = labels(panel)
    told = [(v, where) for v, where in groups if v.pairs and v.ranked][-MOST_NAMED:]
    best = [f"{short(names[v.ranked[0]])} ({where})" for v, where in told if v.decided]
    tied = [where for v, where in told if not v.decided]
    parts = [f"Best at equal {what}: {', '.join(best)}"] if best else []
    parts += [f"no significant best at {', '.join(tied)}"] if tied else []
    said = "; ".join(parts) or f"{panel.model}: retention against {what}"
    return said[0].upper() + said[1:]


def _against(
    panel: Panel, table: pd.DataFrame, by: Definition, axis: _Axis, title: str
) -> Iterator[Figure]:
    shown = table[np.isfinite(table[by]) & np.isfinite(table[axis.column])]
    if shown[axis.column].nunique() < 2:
        return  # one vertical tells nothing about compression
    with canvas(WIDTH, 4.3, font=FONT) as (drawing, (axes,)):
        for kind, (colour, marker) in KIND_STYLE.items():
            rows = shown[shown["kind"] == kind]
            named = KIND_NAMES[kind]
            points(axes, rows, axis.column, by, colour, marker, named, scale=axis.scale)
        _step(axes, shown, by, axis)
        axes.set(xlabel=axis.label, ylabel=f"{NAMES[by]} (dense = 1)")
        titled(drawing, title)
        axes.margins(x=0.13, y=0.1)
        if axis is _SIZE:
            axes.invert_xaxis()
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        settle(drawing)
        if axis is _RATE:
            published_points.beside(axes, by, "tcr")
        dropped = _name_points(axes, shown, by, axis)
        caption = (
            f"{panel.model}: {NAMES[by]} against {axis.said}. Bars are one standard "
            f"error over documents; the grey step is the Pareto front. {axis.together}{dropped}"
        )
        yield finished(drawing, f"retention_over_{axis.name}_{by}", panel.model, caption, by)


def _step(axes: Any, shown: pd.DataFrame, by: Definition, axis: _Axis) -> None:
    """The Pareto front: nothing is smaller and keeps as much."""
    at = shown[axis.column].to_numpy(float)
    rows = front(1 - at if axis is _RATE else at, shown[by].to_numpy(float))
    steps = shown.iloc[rows]
    axes.step(
        axis.scale * steps[axis.column],
        steps[by],
        where="pre",
        color=FAINT,
        linewidth=1,
        zorder=1,
    )


def _name_points(axes: Any, shown: pd.DataFrame, by: str, axis: _Axis) -> str:
    """Label the points, the best of each vertical first; says what stayed without a name."""
    ranked = shown.sort_values([by, "cell"], ascending=[False, True])
    best = ranked.drop_duplicates(axis.column)
    named = ranked if len(ranked) <= MOST_LABELS else best.head(MOST_LABELS)
    order = pd.concat([best[best["cell"].isin(named["cell"])], named]).drop_duplicates("cell")
    dots = [
        (axis.scale * row[axis.column], row[by], short(row["name"])) for _, row in order.iterrows()
    ]
    unnamed = place(axes, dots, size=LABEL) + len(shown) - len(named)
    return f" {unnamed} points carry no name for want of room." if unnamed else ""


def per_cell(panels: Sequence[Panel]) -> Iterator[Figure]:
    """One figure per model: Sr of every cell, and how far its tasks spread around it."""
    for panel in panels:
        if panel.baseline is not None and len(panel.cells) > 1:
            yield from _per_cell(panel, summarise([panel]).assign(name=labels(panel)))


def _per_cell(panel: Panel, table: pd.DataFrame) -> Iterator[Figure]:
    by = defined(panel)[0]
    shown = table[np.isfinite(table[by]) & (table["kind"] != "dense")]
    rest = ""
    if len(shown) > MOST_ROWS:
        best = shown.sort_values([by, "cell"], ascending=[False, True]).drop_duplicates("tcr")
        rest = f" Of {len(shown)} cells the best of each TCr."
        shown = shown[shown["cell"].isin(best["cell"].head(MOST_ROWS))]
    if shown.empty or int(panel.counted.sum()) < 2:
        return
    kept = panel.retentions().value[shown.index][:, panel.counted]
    tasks = [task for task, counted in zip(panel.tasks, panel.counted, strict=True) if counted]
    at = np.arange(len(shown))[::-1]
    with canvas(WIDTH, 1.7 + 0.3 * len(shown), font=FONT) as (drawing, (axes,)):
        axes.hlines(at, np.nanmin(kept, axis=1), np.nanmax(kept, axis=1), color=FAINT, lw=1)
        for i in range(len(tasks)):
            axes.plot(kept[:, i], at, "|", color=FAINT, markersize=8, markeredgewidth=1.2)
        axes.plot([], [], "|", color=FAINT, markeredgewidth=1.2, label="a task")
        for kind, (colour, marker) in KIND_STYLE.items():
            mine = (shown["kind"] == kind).to_numpy()
            if mine.any():
                axes.errorbar(
                    shown[by][mine],
                    at[mine],
                    xerr=bars(shown[f"{by}_stderr"][mine]),
                    linestyle="none",
                    color=colour,
                    marker=marker,
                    elinewidth=1,
                    label=f"{NAMES[by]}, {KIND_NAMES[kind]}",
                    zorder=3,
                )
        axes.axvline(1, color="#888888", linewidth=0.8, linestyle=":")
        names = zip(shown["name"], shown["tcr"], strict=True)
        axes.set_yticks(at, [f"{short(name)}  {100 * rate:.5g} %" for name, rate in names])
        axes.set(xlabel="Retention (dense = 1)", ylim=(-0.7, len(shown) - 0.3))
        titled(drawing, _worst(tasks, kept))
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        caption = (
            f"{panel.model}: {NAMES[by]} of every cell with one standard error, and the retention "
            f"of each task around it; behind each cell its TCr.{rest}"
        )
        yield finished(drawing, "retention_per_cell", panel.model, caption)


def _worst(tasks: Sequence[str], kept: Any) -> str:
    """Which task loses the most, and in how many cells."""
    filled = np.where(np.isfinite(kept), kept, np.inf)
    lowest = np.bincount(filled.argmin(axis=1), minlength=len(tasks))
    task = int(lowest.argmax())
    return f"{short(tasks[task])} loses the most in {lowest[task]} of {len(kept)} cells"
