"""Curves and charts of a sweep, as SVG and PNG bytes that depend on the results alone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.compare import Definition
from analysis.panel import Panel
from analysis.placing import place
from analysis.summary import summarise
from analysis.wording import NAMES, labels

# Okabe and Ito's colours, which stay apart for colour-blind readers; markers repeat the message.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
KIND_STYLE = {
    "dense": ("#000000", "*"),
    "pruning": ("#009E73", "s"),
    "quantization": ("#0072B2", "o"),
    "joint": ("#D55E00", "D"),
}
MOST_ROWS = 40
MOST_LABELS = 36
MOST_SERIES = 16
_STYLE = {
    "svg.hashsalt": "isorate", "text.parse_math": False,
    "svg.fonttype": "path", "font.size": 9, "axes.titlesize": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#e6e6e6", "grid.linewidth": 0.7, "axes.axisbelow": True,
    "legend.frameon": False, "legend.fontsize": 8, "errorbar.capsize": 0, "lines.markersize": 5,
    "lines.linewidth": 1.4, "font.family": "DejaVu Sans",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One drawn figure.

    Attributes:
        name: the name of its files.
        model: the model it shows.
        caption: what it shows and what it leaves out.
        svg: the drawing, deterministic.
        png: the same at 160 dots per inch.
        definition: the definition of Sr that it is drawn for, if for one.
    """

    name: str
    model: str
    caption: str
    svg: bytes
    png: bytes
    definition: Definition | None = None


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


def slug(name: str) -> str:
    """A file name for a model: letters, digits, dots and dashes."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "model"


def _of_model(panel: Panel) -> Iterator[Figure]:
    table = summarise([panel]).assign(name=labels(panel))
    pairs = zip(table["prune_method"], table["pattern"], strict=True)
    table["family"] = [f"{m} {'n:m' if ':' in p else p}".strip() for m, p in pairs]
    for by in ("sr2", "sr1"):
        yield from _against_rate(panel, table, by)
    yield from _single(panel, table)
    yield from _joint(panel, table)
    yield from _joint_cells(panel, table)
    yield from _per_cell(panel, table)


@contextmanager
def _canvas(width: float, height: float, columns: int = 1) -> Iterator[tuple[Any, list[Any]]]:
    """A figure outside of pyplot, so that nothing global is touched."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    with mpl.rc_context(_STYLE):
        drawing = Drawing(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawing)
        axes = drawing.subplots(1, columns, squeeze=False)[0]
        yield drawing, list(axes)


def _finished(drawing: Any, name: str, model: str, caption: str,
              definition: Definition | None = None) -> Figure:  # fmt: skip
    _settle(drawing)
    svg, png = io.BytesIO(), io.BytesIO()
    drawing.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    drawing.savefig(png, format="png", dpi=160, metadata={"Software": None})
    return Figure(name=f"{name}_{slug(model)}", model=model, caption=caption, svg=svg.getvalue(),
                  png=png.getvalue(), definition=definition)  # fmt: skip


def _settle(drawing: Any) -> None:
    """Lay out once, then hold still: labels are placed in this layout."""
    if drawing.get_layout_engine() is not None:
        drawing.draw_without_rendering()
        drawing.set_layout_engine("none")


def _against_rate(panel: Panel, table: pd.DataFrame, by: Definition) -> Iterator[Figure]:
    shown = table[np.isfinite(table[by])]
    if len(shown) < 2:
        return
    with _canvas(7.2, 4.4) as (drawing, (axes,)):
        for kind, (colour, marker) in KIND_STYLE.items():
            _points(axes, shown[shown["kind"] == kind], "tcr", by, colour, marker, kind, scale=100)
        axes.axhline(1, color="#888888", linewidth=0.8, linestyle=":")
        axes.set(xlabel="Theoretical compression rate (%)",
                 ylabel=f"{NAMES[by]} (dense = 1)", title=panel.model)  # fmt: skip
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]), top=axes.get_ylim()[1] + 0.06)
        axes.margins(x=0.09)
        axes.legend(loc="lower left")
        _settle(drawing)
        dropped = _name_points(axes, shown, by)
        caption = (
            f"Retention ({NAMES[by]}) against TCr, {panel.model}. Bars are one standard error "
            f"over documents. Points on one vertical compete at equal TCr.{dropped}"
        )
        yield _finished(drawing, f"retention_over_tcr_{by}", panel.model, caption, by)


def _name_points(axes: Any, shown: pd.DataFrame, by: str) -> str:
    """Label the points, the best of each rate first; says what stayed without a name."""
    ranked = shown.sort_values([by, "cell"], ascending=[False, True])
    best = ranked.drop_duplicates("tcr")
    named = ranked if len(ranked) <= MOST_LABELS else best.head(MOST_LABELS)
    order = pd.concat([best[best["cell"].isin(named["cell"])], named]).drop_duplicates("cell")
    points = [(100 * row["tcr"], row[by], row["name"]) for _, row in order.iterrows()]
    unnamed = place(axes, points) + len(shown) - len(named)
    return f" {unnamed} points carry no name for want of room." if unnamed else ""


def _points(axes: Any, rows: pd.DataFrame, x: str, y: str, colour: str, marker: str, label: str,
            *, scale: float = 1.0, line: bool = False) -> None:  # fmt: skip
    if rows.empty:
        return
    axes.errorbar(scale * rows[x], rows[y], yerr=rows[f"{y}_stderr"].fillna(0), color=colour,
                  marker=marker, linestyle="-" if line else "none", label=label,
                  elinewidth=1, zorder=3)  # fmt: skip


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
    with _canvas(7.2, height) as (drawing, (axes,)):
        positions = np.arange(len(shown))[::-1]
        for i, task in enumerate(panel.tasks):
            value, stderr = each.value[shown.index, i], each.stderr[shown.index, i]
            _spread(axes, value, stderr, positions + _dodge(i, len(panel.tasks), 0.5), task, i)
        for name, marker in (("sr2", "|"), ("sr1", "x")):
            axes.plot(shown[name], positions, linestyle="none", marker=marker, color="#000000",
                      markersize=9 if marker == "|" else 5, markeredgewidth=1.6,
                      label=NAMES[name], zorder=4)  # fmt: skip
        axes.axvline(1, color="#888888", linewidth=0.8, linestyle=":")
        names = [f"{name}  {100 * rate:.5g} %" for name, rate in
                 zip(shown["name"], shown["tcr"], strict=True)]  # fmt: skip
        axes.set_yticks(positions, names)
        axes.set(xlabel="Retention (dense = 1)", title=f"{panel.model}: cells and their TCr")
        axes.set_ylim(-0.7, len(shown) - 0.3)
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center",
                       ncols=min(len(panel.tasks) + 2, 5))  # fmt: skip
        caption = (f"Retention per task with one standard error, and its means Sr1 and Sr2, "
                   f"{panel.model}; behind each cell its TCr.{rest}")  # fmt: skip
        yield _finished(drawing, "retention_per_cell", panel.model, caption)


def _spread(axes: Any, value: Any, stderr: Any, at: Any, task: str, i: int) -> None:
    axes.errorbar(value, at, xerr=np.nan_to_num(stderr), linestyle="none", label=task,
                  marker=MARKERS[i % len(MARKERS)], color=COLOURS[i % (len(COLOURS) - 1)],
                  elinewidth=1, markersize=4.5, zorder=3)  # fmt: skip


def _single(panel: Panel, table: pd.DataFrame) -> Iterator[Figure]:
    pruned = table[np.isfinite(table["srcr_p"])]
    quantized = table[np.isfinite(table["srcr_q"])]
    if pruned.empty and quantized.empty:
        return
    with _canvas(7.2, 3.3, columns=2) as (drawing, (left, right)):
        drawing.suptitle(panel.model, fontsize=10)
        _over_sparsity(left, pruned, "srcr_p", ["family"])
        _over_bits(right, quantized, "srcr_q", ["quant_method"])
        _dressed(left, "Sparsity (%)", "SrCr_p", "Pruning only")
        _dressed(right, "Bits", "SrCr_q", "Quantization only")
        _settle(drawing)
        structured = pruned[pruned["pattern"].str.contains(":")]
        place(left, [(100 * r["sparsity"], r["srcr_p"], r["pattern"])
                     for _, r in structured.iterrows()])  # fmt: skip
        caption = (f"SrCr_p over sparsity and SrCr_q over bits, {panel.model}. The two have "
                   "different scales and are not compared with each other.")  # fmt: skip
        yield _finished(drawing, "srcr_single", panel.model, caption)


def _joint(panel: Panel, table: pd.DataFrame) -> Iterator[Figure]:
    joint = table[np.isfinite(table["srcr_j"])].copy()
    if joint.empty:
        return
    joint["pruned"] = [p if ":" in p else f"{100 * s:.5g}%" for p, s in
                       zip(joint["pattern"], joint["sparsity"], strict=True)]  # fmt: skip
    joint["quantized"] = [f"{b:g}bit" for b in joint["bits"]]
    joint["masked"] = np.where(joint["mask"] == "ignore", "(mask ignored)", "")
    # A name tells apart what differs here, and nothing else.
    extra = [name for name in ("quant_method", "prune_method", "masked") if
             joint[name].nunique() > 1]  # fmt: skip
    with _canvas(7.2, 4.2, columns=2) as (drawing, (left, right)):
        drawing.suptitle(panel.model, fontsize=10)
        joint["n:m"] = np.where(joint["pattern"].str.contains(":"), "n:m", "")
        _over_sparsity(left, joint, "srcr_j", ["quantized", *extra, "n:m"])
        _over_bits(right, joint, "srcr_j", ["pruned", *extra])
        _dressed(left, "Sparsity (%)", "SrCr_j", "Over sparsity")
        _dressed(right, "Bits", "SrCr_j", "Over bits")
        right.set_ylim(left.get_ylim())
        rest = _left_out(joint, ["quantized", *extra, "n:m"], ["pruned", *extra])
        caption = (f"SrCr_j of the joint cells, {panel.model}, by nominal sparsity and bits; bars "
                   f"are one standard error.{rest}")  # fmt: skip
        yield _finished(drawing, "srcr_joint", panel.model, caption)


def _joint_cells(panel: Panel, table: pd.DataFrame) -> Iterator[Figure]:
    joint = table[np.isfinite(table["srcr_j"])]
    if joint["srcr_estimate"].notna().sum() == 0:
        return
    joint = joint.sort_values(["srcr_j", "cell"], ascending=[False, True]).head(MOST_ROWS)
    at = np.arange(len(joint))[::-1]
    with _canvas(7.2, 1.4 + 0.26 * len(joint)) as (drawing, (axes,)):
        for name, colour, marker, shift, said in (
            ("srcr_j", "#D55E00", "D", 0.12, "SrCr_j, measured"),
            ("srcr_estimate", "#0072B2", "o", -0.12, "SrCr_p × SrCr_q, its estimate"),
        ):
            axes.errorbar(joint[name], at + shift, xerr=joint[f"{name}_stderr"].fillna(0),
                          linestyle="none", color=colour, marker=marker, label=said,
                          elinewidth=1, zorder=3)  # fmt: skip
        axes.set_yticks(at, joint["name"])
        axes.set(xlabel="SrCr_j and its estimate", title=panel.model)
        axes.set_xlim(left=0)
        axes.set_ylim(-0.7, len(joint) - 0.3)
        drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        caption = (f"SrCr_j of the joint cells and the estimate from the two single methods, "
                   f"{panel.model}; bars are one standard error.")  # fmt: skip
        yield _finished(drawing, "srcr_joint_cells", panel.model, caption)


def _dodge(i: int, count: int, width: float) -> float:
    """Where the i-th of `count` neighbours stands, so that they lie side by side."""
    return width * (i - (count - 1) / 2) / max(count, 1)


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
        marker = MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]
        series.append((name, COLOURS[i % len(COLOURS)], marker, part))
    return series


def _left_out(rows: pd.DataFrame, *series_by: list[str]) -> str:
    most = max((rows.groupby(by).ngroups for by in series_by if len(rows)), default=0)
    return f" Of {most} lines the {MOST_SERIES} highest." if most > MOST_SERIES else ""


def _over_sparsity(axes: Any, rows: pd.DataFrame, y: str, by: list[str]) -> None:
    """Lines for unstructured sparsity; patterns are points, several can share a sparsity."""
    for name, colour, marker, part in _series(rows, by, y):
        _points(axes, part.sort_values(["sparsity", y]), "sparsity", y, colour, marker, name,
                scale=100, line="n:m" not in name)  # fmt: skip
    ticks = sorted({round(100 * s, 1) for s in rows["sparsity"]})
    if 0 < len(ticks) <= 8:
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.margins(x=0.12)


def _over_bits(axes: Any, rows: pd.DataFrame, y: str, by: list[str]) -> None:
    """Bits from many to few, evenly spaced: the axis reads from mild to strong compression."""
    bits = sorted(rows["bits"].unique(), reverse=True)
    series = _series(rows, by, y)
    for i, (name, colour, marker, part) in enumerate(series):
        shift = _dodge(i, len(series), 0.25)
        at = part.assign(at=[bits.index(b) + shift for b in part["bits"]]).sort_values("at")
        _points(axes, at, "at", y, colour, marker, name, line=True)
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
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=7.5,
                    ncols=1 if len(names) < 3 else 2)  # fmt: skip
    axes.set(xlabel=x, ylabel=y, title=title)
