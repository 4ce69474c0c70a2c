"""A sweep's perplexity curves beside those that MPT published for the same methods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.curves.measured_curves import perplexity_curves
from analysis.curves.transition_table import said
from analysis.data.panel import Panel
from analysis.output.figure import Figure, canvas, finished, look
from analysis.output.table import Column, Table
from analysis.published.mpt import curves
from analysis.report.figures.mpt_figures import MODEL, log_scale
from analysis.statistics.perplexity_transition import POWER, Curve, fit

_SEARCHES = {"asvd": "asvd (allocated)"}

Pair = tuple[str, Curve, str, Curve]
"""Model, measured curve, table of MPT, its curve."""


def pairs(panels: Sequence[Panel]) -> list[Pair]:
    """Every measured curve over sparsity with every published one of the same methods and bits."""
    published = [(table, data) for table, _, data in curves() if "PTB" not in data.name]
    return [
        (model, mine, table, theirs)
        for model, axis, mine in perplexity_curves(panels)
        if axis == "sparsity"
        for table, theirs in published
        if _method(mine) == _as_here(theirs)
    ]


def _method(data: Curve) -> str:
    """'sparsegpt + gptq 4bit' of either name; a task or seed is not part of the method."""
    return data.name.split(",")[0].lower().replace("-", "_").strip()


def _as_here(theirs: Curve) -> str:
    """A published method as ours is named: ASVD looks for the ranks of matrices by itself."""
    method, _, more = _method(theirs).partition(" + ")
    return " + ".join(filter(None, [_SEARCHES.get(method, method), more]))


def doubled(data: Curve) -> float:
    """The rate at which perplexity is twice that of the curve's first point; nan if it never is.

    By the logarithm between two neighbouring points.
    """
    rise = np.log(np.array(data.value) / data.value[0])
    past = np.flatnonzero(rise >= np.log(2))
    if not len(past):
        return float("nan")
    after, before = past[0], past[0] - 1
    share = (np.log(2) - rise[before]) / (rise[after] - rise[before])
    return float(data.s[before] + share * (data.s[after] - data.s[before]))


def beside_table(panels: Sequence[Panel]) -> Table:
    """Transition and doubling of each measured curve beside the published one's."""
    rows = [_row(*pair) for pair in pairs(panels)]
    columns = (
        Column(key="model", title="Model"),
        Column(key="curve", title="Cells"),
        Column(key="point", title="s0, measured, %"),
        Column(key="table", title="MPT table"),
        Column(key="published", title=f"s0, {MODEL}, %"),
        Column(key="agree", title="Agree?"),
        Column(key="doubled", title="Doubled at, measured", form="percent", digits=1),
        Column(key="published_doubled", title="Doubled at, published", form="percent", digits=1),
    )
    notes = (
        "s0 is the transition of the published form (k2 = 0) with its 95 % F-profile interval. "
        "They agree where each point lies in the other's interval, may agree where the intervals "
        "overlap. Doubled: perplexity is twice that of the curve's own first point, which takes "
        "model and text out of the comparison. Task, tokenizer and size of the models differ.",
    )
    return Table(
        name="mpt_beside",
        caption=f"Perplexity curves beside those of {MODEL}",
        columns=columns,
        rows=pd.DataFrame(rows),
        notes=notes,
    )


def _row(model: str, mine: Curve, table: str, theirs: Curve) -> dict[str, object]:
    one, other = fit(mine, POWER), fit(theirs, POWER)
    agree = "too few points"
    if one is not None and other is not None:
        mutual = one.low <= other.point <= one.high and other.low <= one.point <= other.high
        overlap = one.low <= other.high and other.low <= one.high
        agree = "yes" if mutual else "may" if overlap else "no"
    points = [
        "–" if f is None else said(f.point, f.low, f.high, (f.open_low, f.open_high))
        for f in (one, other)
    ]
    return {
        "model": model,
        "curve": mine.name,
        "point": points[0],
        "table": table,
        "published": points[1],
        "agree": agree,
        "doubled": doubled(mine),
        "published_doubled": doubled(theirs),
    }


def beside_figures(panels: Sequence[Panel]) -> Iterator[Figure]:
    """One figure per model: perplexity over that of the first point, measured and published."""
    for panel in panels:
        found = pairs([panel])
        if not found:
            continue
        names = list(dict.fromkeys(mine.name for _, mine, _, _ in found))
        with canvas(7.2, 4.6) as (drawing, (axes,)):
            for _, mine, table, theirs in found:
                colour, marker = look(names.index(mine.name))
                _draw(axes, mine, f"{marker}-", colour, mine.name)
                _draw(
                    axes, theirs, f"{marker}--", colour, f"{theirs.name}, MPT {table}", hollow=True
                )
            axes.axhline(2, color="#888888", linewidth=0.8, linestyle=":")
            log_scale(axes)
            axes.set(
                xlabel="Sparsity, or parameters removed (%)",
                ylabel="Perplexity / first point",
                title=panel.model,
            )
            handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
            drawing.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
            caption = (
                f"Perplexity over that of each curve's first point: {panel.model} (solid, "
                f"filled) and {MODEL} as published by MPT (dashed, hollow), the same "
                "methods and bits. The dotted line is twice the first point."
            )
            yield finished(drawing, "mpt_beside", panel.model, caption)


def _draw(
    axes: Any, data: Curve, style: str, colour: str, label: str, *, hollow: bool = False
) -> None:
    relative = np.array(data.value) / data.value[0]
    axes.plot(
        100 * np.array(data.s),
        relative,
        style,
        color=colour,
        label=label,
        linewidth=1.1,
        markersize=4,
        markerfacecolor="#ffffff" if hollow else colour,
    )
