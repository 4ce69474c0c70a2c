"""MPT's curves with their transitions, and the joint surfaces with front and transition line."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.output.figure import COLOURS, MARKERS, Figure, canvas, finished
from analysis.published.mpt import CAPTIONS, CURVES, curves
from analysis.published.mpt_surface import BITMASK, TITLES, Surface, front, surface
from analysis.statistics.perplexity_transition import POWER, Curve, Fit, band, fit

MODEL = "LLaMA-2-7B"


def mpt_figures() -> list[Figure]:
    """One figure of curves per table of curves, and one surface per joint table."""
    return [
        *(curves_figure(table) for table in CURVES),
        *(surface_figure(table) for table in TITLES),
    ]


def curves_figure(table: str) -> Figure:
    """The curves of one table with the published form, its bands and its transitions."""
    mine = [data for source, _, data in curves() if source == table]
    with canvas(7.2, 4.6) as (drawing, (axes,)):
        for i, data in enumerate(mine):
            draw_curve(
                axes,
                data,
                fit(data, POWER),
                COLOURS[i % len(COLOURS)],
                MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
            )
        log_scale(axes)
        axes.set(
            xlabel="Sparsity (%)",
            ylabel="Perplexity (log scale)",
            title=f"MPT table {table}, {MODEL}",
        )
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        caption = (
            f"{CAPTIONS[table]} (MPT table {table}), {MODEL}: published points; the fitted "
            "power law and exponential (k2 = 0) with its 95 % band; the star is the "
            "transition, the bar its F-profile interval."
        )
        return finished(drawing, f"mpt_curves_{table}", MODEL, caption)


def log_scale(axes: Any) -> None:
    """Perplexity on a log axis, with plain numbers: ours are drawn without mathematics."""
    from matplotlib.ticker import LogLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high < 300 * low:  # few decades: powers of ten alone would leave the axis bare
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda *_: "")


def draw_curve(axes: Any, data: Curve, one: Fit | None, colour: str, marker: str) -> None:
    """Points, and if there is a fit its line, its band and its transition with the interval."""
    axes.plot(
        100 * np.array(data.s),
        data.value,
        linestyle="none",
        marker=marker,
        color=colour,
        label=data.name,
        zorder=3,
    )
    if one is None:
        return
    at = np.linspace(data.s[0], data.s[-1], 120)
    low, high = band(data, one, at)
    axes.plot(100 * at, np.exp(one.log_value(at)), color=colour, linewidth=1.1, zorder=2)
    axes.fill_between(100 * at, low, high, color=colour, alpha=0.12, linewidth=0)
    here = float(np.exp(one.log_value([one.point])[0]))
    axes.plot([100 * one.low, 100 * one.high], [here, here], color=colour, linewidth=2.2, zorder=4)
    axes.plot(
        [100 * one.point],
        [here],
        marker="*",
        markersize=12,
        color=colour,
        zorder=5,
        markeredgecolor="#ffffff",
    )


def surface_figure(table: str) -> Figure:
    """Table 9 or 10 as a surface, and as a contour with front and transition line."""
    data = surface(table)
    with canvas(9.4, 4.4, columns=2) as (drawing, (left, right)):
        place = left.get_subplotspec()
        left.remove()
        solid = drawing.add_subplot(place, projection="3d", computed_zorder=False)
        s, heights = _mesh(data)
        level = np.log10(np.exp(heights))
        _solid(solid, data, s, level)
        drawn = right.contourf(100 * s, _height(data), level, levels=14, cmap="cividis")
        drawing.colorbar(drawn, ax=right, label="log10 perplexity", shrink=0.85)
        _lines(right, data)
        right.set(xlabel="Sparsity (%)", ylabel="Bits", title="Equal budget and transition")
        right.set_ylim(-0.25, len(data.bits) - 0.75)
        right.set_yticks(_height(data), [f"{b:g}" for b in data.bits])
        drawing.suptitle(f"{TITLES[table]}, {MODEL} (MPT table {table})", fontsize=10)
        drawing.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        caption = (
            f"Log perplexity of {TITLES[table]} over sparsity and bits (MPT table {table}), "
            "interpolated between published points. Squares: least perplexity at each "
            "budget as published, and when a pruned weight pays one bit for its mask. Bars: "
            "the transition of each bit-width (published form, k2 = 0) with its 95 % "
            "F-profile interval."
        )
        return finished(drawing, f"mpt_surface_{table}", MODEL, caption)


def _height(data: Surface) -> Any:
    return np.arange(len(data.bits), dtype=float)


def _mesh(data: Surface) -> tuple[Any, Any]:
    """(m,) sparsities that every bit-width has, and (bits, m) log perplexity there."""
    first, last = max(s[0] for s in data.s.values()), min(s[-1] for s in data.s.values())
    s = np.linspace(first, last, 80)
    return s, np.array([data.log_value(b, s) for b in data.bits])


def _solid(axes: Any, data: Surface, s: Any, level: Any) -> None:
    x, y = np.meshgrid(100 * s, _height(data))
    axes.plot_surface(
        x,
        y,
        level,
        cmap="cividis",
        rcount=len(data.bits),
        ccount=40,
        linewidth=0.2,
        edgecolor="#ffffff",
        antialiased=True,
    )
    axes.set_yticks(_height(data), [f"{b:g}" for b in data.bits])
    axes.set(xlabel="Sparsity (%)", ylabel="Bits", title="log10 perplexity")
    axes.view_init(elev=24, azim=-128)


def _lines(axes: Any, data: Surface) -> None:
    for mask, colour, label in (
        (0.0, "#D55E00", "least perplexity at equal budget"),
        (BITMASK, "#ffffff", "the same, the mask paid for"),
    ):
        best = front(data, mask=mask)
        rank = [data.bits.index(b) for b in best["bits"]]
        # A path that jumps between bit-widths is drawn as points: nothing lies between them.
        offset = 0.07 if mask else -0.07
        axes.plot(
            100 * best["sparsity"],
            np.array(rank) + offset,
            linestyle="none",
            marker="s",
            markersize=4,
            color=colour,
            markeredgecolor="#333333",
            markeredgewidth=0.5,
            label=label,
        )
    for at, bits in enumerate(data.bits):
        one = data.transition(bits)
        if one is not None:
            axes.errorbar(
                [100 * one.point],
                [at],
                xerr=[[100 * (one.point - one.low)], [100 * (one.high - one.point)]],
                color="#CC79A7",
                marker="*",
                markersize=11,
                elinewidth=2,
                markeredgecolor="#ffffff",
                label="transition and its interval" if at == 0 else None,
            )
    points = [
        (one.point, at)
        for at, bits in enumerate(data.bits)
        if (one := data.transition(bits)) is not None
    ]
    axes.plot(
        [100 * p for p, _ in points],
        [at for _, at in points],
        color="#CC79A7",
        linewidth=1.2,
        linestyle="--",
    )
