"""SrCr over sparsity and over bits, and SrCr_j beside its estimate.

An axis with a single value says nothing about compression: such a drawing is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparison.summary import summarise
from analysis.comparison.verdicts import srcr_verdicts
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.output.figure import Figure, canvas, dodge, finished, points, settle
from analysis.output.label_placement import place
from analysis.output.text import NAMES, short
from analysis.report.figures.kinds import FONT, KIND_STYLE, LABEL, WIDTH, line_style, titled

MOST_SERIES = 16
MOST_ROWS = 40
_SPARSITY, _BITS = "sparsity", "bits"
_LABELS = {_SPARSITY: "Sparsity (%)", _BITS: "Bits, fewer to the right"}


def srcr_figures(panels: Sequence[Panel]) -> Iterator[Figure]:
    """Of every model: SrCr_p over sparsity, SrCr_q over bits, SrCr_j over both and its estimate."""
    for panel in panels:
        table = summarise([panel]).assign(name=labels(panel))
        yield from _single(panel, table)
        yield from _joint(panel, table)
        yield from _joint_cells(panel, table)


def _single(panel: Panel, table: pd.DataFrame) -> Iterator[Figure]:
    """SrCr_p over sparsity and SrCr_q over bits (fig. 3 of the paper)."""
    named = zip(table["prune_method"], table["pattern"], table["prune_profile"], strict=True)
    families = [
        " ".join(filter(None, (method, "n:m" if ":" in pattern else pattern, how)))
        for method, pattern, how in named
    ]
    table = table.assign(family=families)
    yield from _curve(panel, table, "srcr_p", "pruning", _SPARSITY, ["family"])
    by_bits = ["quant_method", "quant_profile"]
    yield from _curve(panel, table, "srcr_q", "quantization", _BITS, by_bits)


def _joint(panel: Panel, table: pd.DataFrame) -> Iterator[Figure]:
    """SrCr_j over sparsity, a line per bit-width, and over bits, a line per pruning."""
    joint = table[np.isfinite(table["srcr_j"])].copy()
    if joint.empty:
        return
    joint["pruned"] = [
        p if ":" in p else f"{100 * s:.5g}%"
        for p, s in zip(joint["pattern"], joint["sparsity"], strict=True)
    ]
    joint["quantized"] = [f"{b:g}bit" for b in joint["bits"]]
    joint["masked"] = np.where(joint["mask"] == "ignore", "(mask ignored)", "")
    profiles = zip(joint["prune_profile"], joint["quant_profile"], strict=True)
    joint["spread"] = [f"({p} pruning)" * bool(p) + f"({q} bits)" * bool(q) for p, q in profiles]
    joint["n:m"] = np.where(joint["pattern"].str.contains(":"), "n:m", "")
    # A name tells apart what differs here, and nothing else.
    extra = [
        name
        for name in ("quant_method", "prune_method", "masked", "spread")
        if joint[name].nunique() > 1
    ]
    yield from _curve(panel, joint, "srcr_j", "joint", _SPARSITY, ["quantized", *extra, "n:m"])
    yield from _curve(panel, joint, "srcr_j", "joint", _BITS, ["pruned", *extra])


def _curve(
    panel: Panel, table: pd.DataFrame, y: str, kind: str, over: str, by: list[str]
) -> Iterator[Figure]:
    """One SrCr over one axis; nothing where a single place of the axis has cells."""
    rows = table[np.isfinite(table[y])]
    if rows[over].nunique() < 2:
        return
    with canvas(WIDTH, 4.3, font=FONT) as (drawing, (axes,)):
        draw = _over_sparsity if over == _SPARSITY else _over_bits
        draw(axes, rows, y, by, kind)
        axes.set(xlabel=_LABELS[over], ylabel=NAMES[y])
        titled(drawing, _highest(panel, rows, y))
        axes.margins(x=0.12, y=0.12)
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        settle(drawing)
        structured = rows[rows["pattern"].str.contains(":")] if over == _SPARSITY else rows[:0]
        place(
            axes,
            [(100 * r["sparsity"], r[y], r["pattern"]) for _, r in structured.iterrows()],
            size=LABEL,
        )
        count = rows.groupby(by).ngroups
        rest = f" Of {count} lines the {MOST_SERIES} highest." if count > MOST_SERIES else ""
        caption = (
            f"{panel.model}: {NAMES[y]} of the cells of one kind. SrCr_p, SrCr_q and SrCr_j have "
            "different scales and are not compared with each other. Bars are one standard error, "
            f"bands 95 % pointwise.{rest}"
        )
        yield finished(drawing, f"{y}_over_{over}", panel.model, caption)


def _highest(panel: Panel, rows: pd.DataFrame, y: str) -> str:
    """Which cell is highest, and whether that is significant."""
    names = labels(panel)
    verdict = next((v for v in srcr_verdicts(panel) if v.by == y and v.pairs), None)
    if verdict is None:
        top = short(list(rows["name"].astype(str))[int(rows[y].to_numpy(float).argmax())])
        return f"{NAMES[y]} is highest for {top}"
    top = short(names[verdict.ranked[0]])
    if verdict.decided:
        return f"{NAMES[y]} is highest for {top}"
    others = len(verdict.best) - 1
    return f"{NAMES[y]}: {top} is highest, {others} more not significantly below"


def _joint_cells(panel: Panel, table: pd.DataFrame) -> Iterator[Figure]:
    """SrCr_j of each joint cell beside its estimate (fig. 6 of the paper)."""
    joint = table[np.isfinite(table["srcr_j"]) & np.isfinite(table["srcr_estimate"])]
    if joint.empty:
        return
    joint = joint.sort_values(["srcr_j", "cell"], ascending=[False, True]).head(MOST_ROWS)
    at = np.arange(len(joint))[::-1]
    colour, marker = KIND_STYLE["joint"]
    with canvas(WIDTH, 1.7 + 0.34 * len(joint), font=FONT) as (drawing, (axes,)):
        for name, face, shift, said in (
            ("srcr_j", colour, 0.12, "SrCr_j, measured"),
            ("srcr_estimate", "#ffffff", -0.12, "SrCr_p × SrCr_q, the estimate"),
        ):
            axes.errorbar(
                joint[name],
                at + shift,
                xerr=joint[f"{name}_stderr"].fillna(0),
                linestyle="none",
                color=colour,
                marker=marker,
                markerfacecolor=face,
                label=said,
                elinewidth=1,
                zorder=3,
            )
        axes.set_yticks(at, joint["name"].map(short))
        axes.set(xlabel="SrCr_j and its estimate", ylim=(-0.7, len(joint) - 0.3))
        titled(drawing, _apart(joint))
        axes.margins(x=0.1)
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        caption = (
            f"{panel.model}: SrCr_j of the joint cells, and the estimate from the two methods "
            "alone; bars are one standard error."
        )
        yield finished(drawing, "srcr_joint_cells", panel.model, caption)


def _apart(joint: pd.DataFrame) -> str:
    """How far the estimate is from what was measured."""
    apart = (joint["srcr_estimate"] - joint["srcr_j"]).to_numpy(float)
    worst = int(np.abs(apart).argmax())
    side = "over" if apart[worst] > 0 else "under"
    return (
        f"The estimate is within {abs(apart[worst]):.3f} of SrCr_j, most {side} it for "
        f"{short(list(joint['name'].astype(str))[worst])}"
    )


_Series = list[tuple[str, str, str, pd.DataFrame]]


def _series(rows: pd.DataFrame, by: list[str], y: str, kind: str) -> _Series:
    """(name, colour, dash, rows) of each line; of very many the best ones."""
    groups = list(rows.groupby(by, sort=True))
    if len(groups) > MOST_SERIES:
        best = sorted((-part[y].max(), i) for i, (_, part) in enumerate(groups))[:MOST_SERIES]
        groups = [groups[i] for _, i in sorted(best, key=lambda pair: pair[1])]
    series: _Series = []
    for i, (key, part) in enumerate(groups):
        name = " ".join(str(k) for k in key if k) if isinstance(key, tuple) else str(key)
        series.append((name, *line_style(kind, i, len(groups)), part))
    return series


def _over_sparsity(axes: Any, rows: pd.DataFrame, y: str, by: list[str], kind: str) -> None:
    """Lines for unstructured sparsity; patterns are points, several can share a sparsity."""
    marker = KIND_STYLE[kind][1]
    for name, colour, dash, part in _series(rows, by, y, kind):
        points(
            axes,
            part.sort_values(["sparsity", y]),
            "sparsity",
            y,
            colour,
            marker,
            name,
            scale=100,
            line="" if "n:m" in name else dash,
        )
    ticks = sorted({round(100 * s, 1) for s in rows["sparsity"]})
    if len(ticks) <= 8:
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])


def _over_bits(axes: Any, rows: pd.DataFrame, y: str, by: list[str], kind: str) -> None:
    """Bits from many to few, evenly spaced: the axis reads from mild to strong compression."""
    bits = sorted(rows["bits"].unique(), reverse=True)
    series = _series(rows, by, y, kind)
    for i, (name, colour, dash, part) in enumerate(series):
        shift = dodge(i, len(series), 0.25)
        at = part.assign(at=[bits.index(b) + shift for b in part["bits"]]).sort_values("at")
        points(axes, at, "at", y, colour, KIND_STYLE[kind][1], name, line=dash)
    axes.set_xticks(range(len(bits)), [f"{b:g}" for b in bits])
