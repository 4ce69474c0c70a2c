"""SrCr over sparsity and over bits, and SrCr_j beside its estimate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.panel import Panel
from analysis.output.figure import Figure, canvas, dodge, finished, look, points, settle
from analysis.output.label_placement import place
from analysis.output.text import short

MOST_SERIES = 16
MOST_ROWS = 40


def single(panel: Panel, table: pd.DataFrame) -> Iterator[Figure]:
    """SrCr_p over sparsity beside SrCr_q over bits (fig. 3 of the paper)."""
    pruned = table[np.isfinite(table["srcr_p"])]
    quantized = table[np.isfinite(table["srcr_q"])]
    if pruned.empty and quantized.empty:
        return
    with canvas(7.2, 3.3, columns=2) as (drawing, (left, right)):
        drawing.suptitle(panel.model, fontsize=10)
        _over_sparsity(left, pruned, "srcr_p", ["family"])
        _over_bits(right, quantized, "srcr_q", ["quant_method", "quant_profile"])
        _dressed(left, "Sparsity (%)", "SrCr_p", "Pruning only")
        _dressed(right, "Bits", "SrCr_q", "Quantization only")
        settle(drawing)
        structured = pruned[pruned["pattern"].str.contains(":")]
        place(
            left,
            [(100 * r["sparsity"], r["srcr_p"], r["pattern"]) for _, r in structured.iterrows()],
        )
        caption = (
            f"SrCr_p over sparsity and SrCr_q over bits, {panel.model}. The two have "
            "different scales and are not compared with each other. Bars are one "
            "standard error, bands 95 % pointwise."
        )
        yield finished(drawing, "srcr_single", panel.model, caption)


def joint_curves(panel: Panel, table: pd.DataFrame) -> Iterator[Figure]:
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
    # A name tells apart what differs here, and nothing else.
    extra = [
        name
        for name in ("quant_method", "prune_method", "masked", "spread")
        if joint[name].nunique() > 1
    ]
    with canvas(7.2, 4.2, columns=2) as (drawing, (left, right)):
        drawing.suptitle(panel.model, fontsize=10)
        joint["n:m"] = np.where(joint["pattern"].str.contains(":"), "n:m", "")
        _over_sparsity(left, joint, "srcr_j", ["quantized", *extra, "n:m"])
        _over_bits(right, joint, "srcr_j", ["pruned", *extra])
        _dressed(left, "Sparsity (%)", "SrCr_j", "Over sparsity")
        _dressed(right, "Bits", "SrCr_j", "Over bits")
        right.set_ylim(left.get_ylim())
        rest = _left_out(joint, ["quantized", *extra, "n:m"], ["pruned", *extra])
        caption = (
            f"SrCr_j of the joint cells, {panel.model}, by nominal sparsity and bits; bars "
            f"are one standard error, bands 95 % pointwise.{rest}"
        )
        yield finished(drawing, "srcr_joint", panel.model, caption)


def joint_cells(panel: Panel, table: pd.DataFrame) -> Iterator[Figure]:
    """SrCr_j of each joint cell beside its estimate (fig. 6 of the paper)."""
    joint = table[np.isfinite(table["srcr_j"])]
    if joint["srcr_estimate"].notna().sum() == 0:
        return
    joint = joint.sort_values(["srcr_j", "cell"], ascending=[False, True]).head(MOST_ROWS)
    at = np.arange(len(joint))[::-1]
    with canvas(7.2, 1.4 + 0.26 * len(joint)) as (drawing, (axes,)):
        for name, colour, marker, shift, said in (
            ("srcr_j", "#D55E00", "D", 0.12, "SrCr_j, measured"),
            ("srcr_estimate", "#0072B2", "o", -0.12, "SrCr_p × SrCr_q, its estimate"),
        ):
            axes.errorbar(
                joint[name],
                at + shift,
                xerr=joint[f"{name}_stderr"].fillna(0),
                linestyle="none",
                color=colour,
                marker=marker,
                label=said,
                elinewidth=1,
                zorder=3,
            )
        axes.set_yticks(at, joint["name"].map(short))
        axes.set(xlabel="SrCr_j and its estimate", title=panel.model)
        axes.set_xlim(left=0)
        axes.set_ylim(-0.7, len(joint) - 0.3)
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        caption = (
            f"SrCr_j of the joint cells and the estimate from the two single methods, "
            f"{panel.model}; bars are one standard error."
        )
        yield finished(drawing, "srcr_joint_cells", panel.model, caption)


_Series = list[tuple[str, str, str, pd.DataFrame]]


def _series(rows: pd.DataFrame, by: list[str], y: str) -> _Series:
    """(name, colour, marker, rows) of each line; of very many the best ones."""
    groups = list(rows.groupby(by, sort=True))
    if len(groups) > MOST_SERIES:
        best = sorted((-part[y].max(), i) for i, (_, part) in enumerate(groups))[:MOST_SERIES]
        groups = [groups[i] for _, i in sorted(best, key=lambda pair: pair[1])]
    series: _Series = []
    for i, (key, part) in enumerate(groups):
        name = " ".join(str(k) for k in key if k) if isinstance(key, tuple) else str(key)
        series.append((name, *look(i), part))
    return series


def _left_out(rows: pd.DataFrame, *series_by: list[str]) -> str:
    most = max((rows.groupby(by).ngroups for by in series_by if len(rows)), default=0)
    return f" Of {most} lines the {MOST_SERIES} highest." if most > MOST_SERIES else ""


def _over_sparsity(axes: Any, rows: pd.DataFrame, y: str, by: list[str]) -> None:
    """Lines for unstructured sparsity; patterns are points, several can share a sparsity."""
    for name, colour, marker, part in _series(rows, by, y):
        points(
            axes,
            part.sort_values(["sparsity", y]),
            "sparsity",
            y,
            colour,
            marker,
            name,
            scale=100,
            line="n:m" not in name,
        )
    ticks = sorted({round(100 * s, 1) for s in rows["sparsity"]})
    if 0 < len(ticks) <= 8:
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.margins(x=0.12)


def _over_bits(axes: Any, rows: pd.DataFrame, y: str, by: list[str]) -> None:
    """Bits from many to few, evenly spaced: the axis reads from mild to strong compression."""
    bits = sorted(rows["bits"].unique(), reverse=True)
    series = _series(rows, by, y)
    for i, (name, colour, marker, part) in enumerate(series):
        shift = dodge(i, len(series), 0.25)
        at = part.assign(at=[bits.index(b) + shift for b in part["bits"]]).sort_values("at")
        points(axes, at, "at", y, colour, marker, name, line=True)
    axes.set_xticks(range(len(bits)), [f"{b:g}" for b in bits])
    axes.margins(x=0.12)


def _dressed(axes: Any, x: str, y: str, title: str) -> None:
    if not axes.has_data():
        axes.text(0.5, 0.5, "no such cells", transform=axes.transAxes, ha="center", color="#666666")
        axes.set_xticks([])
        axes.set_yticks([])
    else:
        axes.set_ylim(0, 1.06 * axes.get_ylim()[1])
        _, names = axes.get_legend_handles_labels()
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.17),
            fontsize=7.5,
            ncols=1 if len(names) < 3 else 2,
        )
    axes.set(xlabel=x, ylabel=y, title=title)
