"""Retention against size, with the Pareto front: a plot per way to measure size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.comparison.size import front, sizes
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.metrics import Definition
from analysis.output.figure import Figure, canvas, finished, points, settle
from analysis.output.label_placement import place
from analysis.output.text import NAMES
from analysis.report.figures import published_points
from analysis.report.figures.retention_figures import KIND_STYLE

SHOWN = (
    ("share_tcr", "1 - TCr"),
    ("share_served", "Size as served"),
    ("share_best_mask", "Size with the best mask"),
)
MOST_NAMES = 12
MOST_CELLS = 300


def front_figures(panels: Sequence[Panel], by: Definition = "sr2") -> Iterator[Figure]:
    """One figure per model: the same cells against three sizes, each with its front.

    Models whose weights are not counted, or with more than MOST_CELLS cells, have none.
    """
    for panel in panels:
        if panel.cells["linear_weights"].isna().all() or len(panel.cells) > MOST_CELLS:
            continue
        table = sizes(panel).assign(name=labels(panel))
        shown = table[np.isfinite(table[by])]
        if len(shown) > 1:
            yield _figure(panel, shown.reset_index(drop=True), by)


def _figure(panel: Panel, table: pd.DataFrame, by: Definition) -> Figure:
    with canvas(9.6, 4.2, columns=len(SHOWN)) as (drawing, axes):
        drawing.suptitle(panel.model, fontsize=10)
        fronts = []
        for axis, (column, title) in zip(axes, SHOWN, strict=True):
            rows = front(table[column].to_numpy(float), table[by].to_numpy(float))
            fronts.append(rows)
            for kind, (colour, marker) in KIND_STYLE.items():
                part = table[table["kind"] == kind]
                points(axis, part, column, by, colour, marker, kind, scale=100)
            steps = table.iloc[rows[::-1]]
            axis.step(
                100 * steps[column], steps[by], where="post", color="#888888", linewidth=1, zorder=1
            )
            axis.set(title=title, xlabel="% of the dense model")
            axis.set_ylim(0, 1.12 * max(1.0, table[by].max()))
        axes[0].set_ylabel(f"{NAMES[by]} (dense = 1)")
        drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        settle(drawing)
        for axis, (column, _), rows in zip(axes, SHOWN, fronts, strict=True):
            published_points.beside(axis, by, column)
            named = table.iloc[rows[:MOST_NAMES]]
            place(
                axis, [(100 * r[column], r[by], r["name"]) for _, r in named.iterrows()], size=6.5
            )
        caption = (
            f"{NAMES[by]} against three sizes of the same cells, {panel.model}. The grey "
            "step is the Pareto front, whose cells are named; bars are one standard "
            "error."
        )
        return finished(drawing, f"front_{by}", panel.model, caption, by)
