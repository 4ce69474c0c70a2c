"""Every figure of the report: retention against TCr and per cell, and the SrCr curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparison.summary import summarise
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.metrics import Definition
from analysis.output.figure import (
    COLOURS,
    MARKERS,
    Figure,
    bars,
    canvas,
    dodge,
    finished,
    points,
    settle,
)
from analysis.output.label_placement import place
from analysis.output.text import NAMES, short
from analysis.report.figures import published_points
from analysis.report.figures.srcr_figures import joint_cells, joint_curves, single

KIND_STYLE = {
    "dense": ("#000000", "*"),
    "pruning": ("#009E73", "s"),
    "quantization": ("#0072B2", "o"),
    "joint": ("#D55E00", "D"),
}
MOST_ROWS = 40
MOST_LABELS = 36


def all_figures(panels: Sequence[Panel]) -> list[Figure]:
    """Every figure of the report; those without a single point are not drawn."""
    drawn: list[Figure] = []
    for panel in panels:
        taken = {figure.name for figure in drawn}
        for figure in _of_model(panel):
            # Two models may differ only in what a file name cannot hold.
            again = sum(name.startswith(figure.name) for name in taken)
            drawn.append(replace(figure, name=f"{figure.name}-{again + 1}") if again else figure)
    return drawn


def _of_model(panel: Panel) -> Iterator[Figure]:
    table = summarise([panel]).assign(name=labels(panel))
    named = zip(table["prune_method"], table["pattern"], table["prune_profile"], strict=True)
    table["family"] = [
        " ".join(filter(None, (method, "n:m" if ":" in pattern else pattern, how)))
        for method, pattern, how in named
    ]
    for by in ("sr2", "sr1"):
        yield from _against_rate(panel, table, by)
    yield from single(panel, table)
    yield from joint_curves(panel, table)
    yield from joint_cells(panel, table)
    yield from _per_cell(panel, table)


def _against_rate(panel: Panel, table: pd.DataFrame, by: Definition) -> Iterator[Figure]:
    shown = table[np.isfinite(table[by])]
    if len(shown) < 2:
        return
    with canvas(7.2, 4.4) as (drawing, (axes,)):
        for kind, (colour, marker) in KIND_STYLE.items():
            points(axes, shown[shown["kind"] == kind], "tcr", by, colour, marker, kind, scale=100)
        axes.axhline(1, color="#888888", linewidth=0.8, linestyle=":")
        axes.set(
            xlabel="Theoretical compression rate (%)",
            ylabel=f"{NAMES[by]} (dense = 1)",
            title=panel.model,
        )
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]), top=axes.get_ylim()[1] + 0.06)
        axes.margins(x=0.09)
        axes.legend(loc="lower left")
        settle(drawing)
        published_points.beside(axes, by, "tcr")
        dropped = _name_points(axes, shown, by)
        caption = (
            f"Retention ({NAMES[by]}) against TCr, {panel.model}. Bars are one standard error "
            f"over documents. Points on one vertical compete at equal TCr.{dropped}"
        )
        yield finished(drawing, f"retention_over_tcr_{by}", panel.model, caption, by)


def _name_points(axes: Any, shown: pd.DataFrame, by: str) -> str:
    """Label the points, the best of each rate first; says what stayed without a name."""
    ranked = shown.sort_values([by, "cell"], ascending=[False, True])
    best = ranked.drop_duplicates("tcr")
    named = ranked if len(ranked) <= MOST_LABELS else best.head(MOST_LABELS)
    order = pd.concat([best[best["cell"].isin(named["cell"])], named]).drop_duplicates("cell")
    dots = [(100 * row["tcr"], row[by], row["name"]) for _, row in order.iterrows()]
    unnamed = place(axes, dots) + len(shown) - len(named)
    return f" {unnamed} points carry no name for want of room." if unnamed else ""


def _per_cell(panel: Panel, table: pd.DataFrame) -> Iterator[Figure]:
    shown = table[np.isfinite(table["sr1"]) | np.isfinite(table["sr2"])]
    rest = ""
    if len(shown) > MOST_ROWS:
        best = shown.sort_values(["sr2", "sr1"], ascending=False).drop_duplicates("tcr")
        picked = shown[shown["cell"].isin(best["cell"].head(MOST_ROWS))]
        rest = f" Of {len(shown)} cells the best of each TCr."
        shown = picked
    if shown.empty:
        return
    each, height = panel.retentions(), 1.5 + 0.27 * len(shown)
    with canvas(7.2, height) as (drawing, (axes,)):
        positions = np.arange(len(shown))[::-1]
        for i, task in enumerate(panel.tasks):
            value, stderr = each.value[shown.index, i], each.stderr[shown.index, i]
            _spread(axes, value, stderr, positions + dodge(i, len(panel.tasks), 0.5), task, i)
        for name, marker in (("sr2", "|"), ("sr1", "x")):
            axes.plot(
                shown[name],
                positions,
                linestyle="none",
                marker=marker,
                color="#000000",
                markersize=9 if marker == "|" else 5,
                markeredgewidth=1.6,
                label=NAMES[name],
                zorder=4,
            )
        axes.axvline(1, color="#888888", linewidth=0.8, linestyle=":")
        names = [
            f"{short(name)}  {100 * rate:.5g} %"
            for name, rate in zip(shown["name"], shown["tcr"], strict=True)
        ]
        axes.set_yticks(positions, names)
        axes.set(xlabel="Retention (dense = 1)", title=f"{panel.model}: cells and their TCr")
        axes.set_ylim(-0.7, len(shown) - 0.3)
        drawing.legend(
            *axes.get_legend_handles_labels(),
            loc="outside lower center",
            ncols=min(len(panel.tasks) + 2, 5),
        )
        caption = (
            f"Retention per task with one standard error, and its means Sr1 and Sr2, "
            f"{panel.model}; behind each cell its TCr.{rest}"
        )
        yield finished(drawing, "retention_per_cell", panel.model, caption)


def _spread(axes: Any, value: Any, stderr: Any, at: Any, task: str, i: int) -> None:
    axes.errorbar(
        value,
        at,
        xerr=bars(stderr),
        linestyle="none",
        label=short(task),
        marker=MARKERS[i % len(MARKERS)],
        color=COLOURS[i % (len(COLOURS) - 1)],
        elinewidth=1,
        markersize=4.5,
        zorder=3,
    )
