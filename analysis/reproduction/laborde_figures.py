"""Figures 1-8 of arXiv:2505.07289, from any results; the content is the paper's, the form ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparison.summary import summarise
from analysis.data.panel import Panel
from analysis.output.figure import COLOURS, MARKERS, Figure, bars, canvas, dodge, finished
from analysis.reproduction.laborde_tables import Config, config, find

RETENTIONS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("Retention with pruning only", ("25%", "33.333%", "50%", "75%")),
    2: ("Retention with quantization only", ("8bit", "4bit", "3bit", "2bit")),
    4: (
        "GPTQ against NF4 and LLM.int8(), before and after pruning",
        (
            "4bit",
            "NF4",
            "25% + 4bit",
            "25% + NF4",
            "8bit",
            "LLM.int8",
            "50% + 8bit",
            "50% + LLM.int8",
        ),
    ),
    5: (
        "Joint compression against quantization only at equal TCr",
        ("4bit", "50% + 8bit", "3bit", "25% + 4bit", "2bit", "33.333% + 3bit"),
    ),
    7: (
        "Retention with pruning only, with and without semi-structured patterns",
        ("25%", "2:8", "1:4", "33.333%", "2:6", "1:3"),
    ),
    8: (
        "Joint compression with and without semi-structured patterns, beside 3 and 2 bit",
        (
            "3bit",
            "25% + 4bit",
            "2:8 + 4bit",
            "1:4 + 4bit",
            "2bit",
            "33.333% + 3bit",
            "2:6 + 3bit",
            "1:3 + 3bit",
        ),
    ),
}
SINGLE = 3
JOINT = 6
JOINTS = ("50% + 8bit", "25% + 4bit", "33.333% + 3bit")
EQUAL_TCR = frozenset({5, 8})
NUMBERS = tuple(sorted([*RETENTIONS, SINGLE, JOINT]))


@dataclass(frozen=True, kw_only=True)
class Side:
    """One source of numbers in a figure: "published" or the name of a sweep."""

    name: str
    panels: Sequence[Panel]
    filled: bool = True


def figure(number: int, sides: Sequence[Side]) -> Figure | None:
    """One figure for all models of all sources, a plot per model; None if nothing is to be drawn.

    Where two sources have a model of the same name (whatever its case) they share a plot,
    the first with filled markers, the second with hollow ones.
    """
    sides = [replace(side, filled=not i) for i, side in enumerate(sides)]
    models = _models(sides)
    if number == SINGLE:
        return _single(models)
    if number == JOINT:
        return _joint(models)
    title, names = RETENTIONS[number]
    return _retention(number, title, [config(name) for name in names], models)


def figures(sides: Sequence[Side]) -> list[Figure]:
    """All of them that have something to show."""
    return [drawn for number in NUMBERS if (drawn := figure(number, sides)) is not None]


_Model = tuple[str, list[tuple[Side, Panel]]]


def _models(sides: Sequence[Side]) -> list[_Model]:
    found: dict[str, _Model] = {}
    for side in sides:
        for panel in side.panels:
            if panel.baseline is not None:
                entry = found.setdefault(panel.model.casefold(), (panel.model, []))
                entry[1].append((side, panel))
    return list(found.values())


def _retention(
    number: int, title: str, configs: Sequence[Config], models: Sequence[_Model]
) -> Figure | None:
    models = [m for m in models if any(find(p, c) is not None for _, p in m[1] for c in configs)]
    if not models:
        return None
    with canvas(max(3.6 * len(models), 4.8), 4.1, columns=len(models)) as (drawing, axes):
        for axis, (model, panels) in zip(axes, models, strict=True):
            for side, panel in panels:
                _draw_retention(axis, side, panel, configs)
            _name_configs(axis, configs, number in EQUAL_TCR)
            axis.axhline(1, color="#888888", linewidth=0.8, linestyle=":")
            axis.set_title(model)
        _same_height(axes)
        axes[0].set_ylabel("Retention (dense = 1)")
        _legend(drawing, axes)
        caption = f"Figure {number}. {title}; bars are one standard error."
        return _done(drawing, number, caption)


def _draw_retention(axis: Any, side: Side, panel: Panel, configs: Sequence[Config]) -> None:
    each, whole = panel.retentions(), panel.sr2()
    rows = [find(panel, one) for one in configs]
    order = sorted(range(len(panel.tasks)), key=lambda t: panel.tasks[t].casefold())
    series = [(panel.tasks[t], each.value[:, t], each.stderr[:, t], i) for i, t in enumerate(order)]
    series.append(("Sr", whole.value, whole.stderr, -1))
    for i, (name, value, stderr, look) in enumerate(series):
        at = np.arange(len(configs)) + dodge(i, len(series), 0.6) + (0 if side.filled else 0.05)
        shown = np.array([np.nan if r is None else value[r] for r in rows])
        error = np.array([np.nan if r is None else stderr[r] for r in rows])
        colour = COLOURS[look] if look < 0 else COLOURS[look % (len(COLOURS) - 1)]
        axis.errorbar(
            at,
            shown,
            yerr=bars(error),
            linestyle="none",
            color=colour,
            marker=MARKERS[look % len(MARKERS)],
            elinewidth=1,
            zorder=3,
            markerfacecolor=colour if side.filled else "white",
            label=f"{name} ({side.name})",
        )


def _name_configs(axis: Any, configs: Sequence[Config], grouped: bool) -> None:
    axis.set_xticks(
        range(len(configs)),
        [one.label for one in configs],
        rotation=35,
        ha="right",
        rotation_mode="anchor",
    )
    axis.set_xlim(-0.6, len(configs) - 0.4)
    if not grouped:
        return
    for i in range(1, len(configs)):
        if configs[i].tcr != configs[i - 1].tcr:
            axis.axvline(i - 0.5, color="#bbbbbb", linewidth=0.8)


def _same_height(axes: Sequence[Any]) -> None:
    """One scale for all models, with 0 on it, so that heights can be compared across plots."""
    low = min(0.0, *(axis.get_ylim()[0] for axis in axes))
    high = max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set_ylim(low, high + 0.02 * (high - low))


def _single(models: Sequence[_Model]) -> Figure | None:
    """Figure 3: SrCr_p over sparsity beside SrCr_q over bits; two scales, two plots."""
    pruned = [config(name) for name in RETENTIONS[1][1]]
    quantized = [config(name) for name in RETENTIONS[2][1]]
    with canvas(7.2, 3.6, columns=2) as (drawing, (left, right)):
        for i, (model, panels) in enumerate(models):
            for side, panel in panels:
                name = f"{model} ({side.name})"
                _line(left, side, panel, pruned, "srcr_p", i, name)
                _line(right, side, panel, quantized, "srcr_q", i, name)
        if not (left.has_data() or right.has_data()):
            return None
        for axis, configs, name in ((left, pruned, "SrCr_p"), (right, quantized, "SrCr_q")):
            axis.set_xticks(range(len(configs)), [one.label for one in configs])
            axis.set_ylabel(name)
            axis.set_ylim(bottom=0)
        _legend(drawing, [left, right])
        caption = (
            "Figure 3. SrCr of the single methods; the two plots have different scales and "
            "are not compared with each other. Bars are one standard error."
        )
        return _done(drawing, SINGLE, caption)


def _line(
    axis: Any, side: Side, panel: Panel, configs: Sequence[Config], y: str, i: int, name: str
) -> None:
    value, stderr = _columns(panel, configs, y)
    if np.isfinite(value).any():
        axis.errorbar(
            np.arange(len(configs)) + dodge(i, 2, 0.08),
            value,
            yerr=bars(stderr),
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            linestyle="-" if side.filled else "--",
            markerfacecolor=None if side.filled else "white",
            elinewidth=1,
            label=name,
        )


def _joint(models: Sequence[_Model]) -> Figure | None:
    """Figure 6: SrCr_j of the joint cells and the product of the two single methods."""
    configs = [config(name) for name in JOINTS]
    models = [
        model
        for model in models
        if any(np.isfinite(_columns(panel, configs, "srcr_j")[0]).any() for _, panel in model[1])
    ]
    if not models:
        return None
    with canvas(max(3.6 * len(models), 4.8), 3.7, columns=len(models)) as (drawing, axes):
        for axis, (model, panels) in zip(axes, models, strict=True):
            for side, panel in panels:
                for i, (y, name) in enumerate(
                    (("srcr_j", "SrCr_j"), ("srcr_estimate", "SrCr_p × SrCr_q"))
                ):
                    value, stderr = _columns(panel, configs, y)
                    at = np.arange(3) + dodge(i, 2, 0.2) + (0 if side.filled else 0.06)
                    axis.errorbar(
                        at,
                        value,
                        yerr=bars(stderr),
                        linestyle="none",
                        color=COLOURS[1 - i],
                        marker=MARKERS[3 - i],
                        elinewidth=1,
                        markerfacecolor=COLOURS[1 - i] if side.filled else "white",
                        label=f"{name} ({side.name})",
                    )
            axis.set_xticks(range(3), [one.label for one in configs])
            axis.set(title=model, xlim=(-0.5, 2.5))
        _same_height(axes)
        axes[0].set_ylabel("SrCr_j and its estimate")
        _legend(drawing, axes)
        caption = (
            "Figure 6. SrCr_j in joint compression and its estimate from the single "
            "methods; bars are one standard error."
        )
        return _done(drawing, JOINT, caption)


def _columns(panel: Panel, configs: Sequence[Config], y: str) -> tuple[Any, Any]:
    table: pd.DataFrame = summarise([panel])
    rows = [find(panel, one) for one in configs]
    pick = [np.nan if r is None else table[y].iat[r] for r in rows]
    error = [np.nan if r is None else table[f"{y}_stderr"].iat[r] for r in rows]
    return np.array(pick, dtype=float), np.array(error, dtype=float)


def _legend(drawing: Any, axes: Sequence[Any]) -> None:
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    sources = {name.rpartition(" (")[2] for name in entries}
    # One source needs no mention at every entry: the page says it.
    names = [n.rpartition(" (")[0] if len(sources) == 1 else n for n in entries]
    drawing.legend(
        list(entries.values()), names, loc="outside lower center", ncols=min(len(names), 4)
    )


def _done(drawing: Any, number: int, caption: str) -> Figure:
    # The figure shows all models; its name needs none.
    return replace(finished(drawing, "fig", str(number), caption), name=f"fig{number}")
