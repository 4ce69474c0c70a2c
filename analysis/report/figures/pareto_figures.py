"""Retention against the size that a format with the best mask would reach: the Pareto front."""

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
from analysis.output.text import NAMES, listed, short
from analysis.report.figures import published_points
from analysis.report.figures.kinds import FAINT, FONT, KIND_NAMES, KIND_STYLE, LABEL, WIDTH, titled

MOST_NAMES = 30
MOST_CELLS = 300
_SHARE = "share_best_mask"


def front_figures(panels: Sequence[Panel], by: Definition = "sr2") -> Iterator[Figure]:
    """One figure per model.

    Models whose weights are not counted, or with more than MOST_CELLS cells, have none; nor have
    those without a pruned cell, whose files are as small as any format makes them.
    """
    for panel in panels:
        if panel.cells["linear_weights"].isna().all() or len(panel.cells) > MOST_CELLS:
            continue
        table = sizes(panel).assign(name=labels(panel))
        shown = table[np.isfinite(table[by]) & np.isfinite(table[_SHARE])]
        if shown[_SHARE].nunique() > 1 and (shown["sparsity"] > 0).any():
            yield _figure(panel, shown.reset_index(drop=True), by)


def _figure(panel: Panel, table: pd.DataFrame, by: Definition) -> Figure:
    rows = front(table[_SHARE].to_numpy(float), table[by].to_numpy(float))
    with canvas(WIDTH, 4.3, font=FONT) as (drawing, (axes,)):
        for kind, (colour, marker) in KIND_STYLE.items():
            part = table[table["kind"] == kind]
            points(axes, part, _SHARE, by, colour, marker, KIND_NAMES[kind], scale=100)
        steps = table.iloc[rows]
        axes.step(100 * steps[_SHARE], steps[by], where="pre", color=FAINT, linewidth=1, zorder=1)
        axes.set(
            xlabel="Size with the best mask (% of dense), smaller to the right",
            ylabel=f"{NAMES[by]} (dense = 1)",
        )
        titled(drawing, _finding(table, rows))
        axes.margins(x=0.13, y=0.1)
        axes.invert_xaxis()
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        settle(drawing)
        published_points.beside(axes, by, _SHARE)
        named = table if len(table) <= MOST_NAMES else steps
        place(
            axes,
            [(100 * r[_SHARE], r[by], short(r["name"])) for _, r in named.iterrows()],
            size=LABEL,
        )
        caption = (
            f"{panel.model}: {NAMES[by]} against the size that a format would reach which stores "
            "only what is kept, beside the best mask. No server reads such files today. The grey "
            "step is the Pareto front; bars are one standard error."
        )
        return finished(drawing, f"front_{by}", panel.model, caption, by)


def _finding(table: pd.DataFrame, rows: Sequence[int]) -> str:
    """Which pruned cells a format with a mask would make worth their bytes."""
    names, sparsity = list(table["name"].astype(str)), table["sparsity"].to_numpy(float)
    pruned = [short(names[row]) for row in rows if sparsity[row] > 0]
    if not pruned:
        return "Even with the best mask no pruned cell is worth its bytes"
    return f"With the best mask on the Pareto front: {listed(pruned, 4, ', ')}"
