"""A sweep's own curves with what was fitted: perplexity and its break, retention and its bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from analysis.curves.measured_curves import perplexity_curves, tolerances, weights
from analysis.data.panel import Panel
from analysis.output.figure import Figure, bars, canvas, finished, look
from analysis.output.text import NAMES
from analysis.report.figures.mpt_figures import draw_curve, log_scale
from analysis.statistics.perplexity_transition import Curve, fit
from analysis.statistics.retention_curve import KEPT, Tolerance, band

AXES = {"sparsity": "Sparsity (%)", "bits": "Compression by bits, 1 − bits/16 (%)"}

MOST_LINES = 8


def curve_figures(panels: Sequence[Panel]) -> Iterator[Figure]:
    """One figure per model and axis that has curves: perplexities beside Sr2."""
    for panel in panels:
        every, kept = perplexity_curves([panel]), tolerances(panel, "sr2")
        for axis in AXES:
            curves = [c for _, kind, c in every if kind == axis]
            lines = [one for one in kept if one[1] == axis]
            if curves or lines:
                # Of very many lines the ones that hold out longest.
                lines.sort(key=lambda line: -line[4].point)
                yield _figure(
                    panel,
                    axis,
                    curves[:MOST_LINES],
                    lines[:MOST_LINES],
                    max(len(curves), len(lines)),
                )


def _figure(
    panel: Panel, axis: str, curves: Sequence[Curve], lines: Sequence[Any], every: int
) -> Figure:
    with canvas(7.2, 4.0, columns=2) as (drawing, (left, right)):
        drawing.suptitle(panel.model, fontsize=10)
        for i, data in enumerate(curves):
            draw_curve(left, data, fit(data), *look(i))
        if curves:
            log_scale(left)
        for i, (name, _, rows, rates, one) in enumerate(lines):
            _draw_retention(right, panel, name, rows, rates, one, *look(i))
        right.axhline(KEPT, color="#888888", linewidth=0.8, linestyle=":")
        for axes, title in ((left, "Perplexity"), (right, f"{NAMES['sr2']} (dense = 1)")):
            axes.set(xlabel=AXES[axis], title=title)
            _legend(axes)
        rest = f" Of {every} lines {MOST_LINES}." if every > MOST_LINES else ""
        caption = (
            f"Curves over {axis}, {panel.model}. Left: perplexity, the published form "
            "(k2 = 0) with its 95 % band; star and bar are the transition and its interval. "
            f"Right: the bounded retention curve with its 95 % band; star and bar are where "
            f"{100 * KEPT:g} % are kept.{rest}"
        )
        return finished(drawing, f"curves_over_{axis}", panel.model, caption)


def _draw_retention(
    axes: Any,
    panel: Panel,
    name: str,
    rows: list[int],
    rates: list[float],
    one: Tolerance,
    colour: str,
    marker: str,
) -> None:
    sr = panel.sr2()
    axes.errorbar(
        100 * np.array(rates),
        sr.value[rows],
        yerr=bars(sr.stderr[rows]),
        color=colour,
        marker=marker,
        linestyle="none",
        label=name,
        elinewidth=1,
        zorder=3,
    )
    at = np.linspace(0, max(rates), 120)
    low, high = band(one, rates, sr.value[rows], weights(sr.stderr[rows]), at)
    axes.plot(100 * at, one.value(at), color=colour, linewidth=1.1)
    axes.fill_between(100 * at, low, high, color=colour, alpha=0.12, linewidth=0)
    if one.point <= max(rates):
        ends = 100 * one.low, 100 * min(one.high, max(rates))
        axes.plot(ends, (one.kept, one.kept), color=colour, linewidth=2.2, zorder=4)
        axes.plot(
            [100 * one.point],
            [one.kept],
            marker="*",
            markersize=12,
            color=colour,
            zorder=5,
            markeredgecolor="#ffffff",
        )


def _legend(axes: Any) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=7.5)
    else:
        axes.text(
            0.5, 0.5, "too few points", transform=axes.transAxes, ha="center", color="#666666"
        )
