"""How the figures look and are saved: one style, one layout, bytes that depend on data alone."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.metrics import Definition
from analysis.output.font import families
from analysis.output.text import plus_minus

# Okabe and Ito's colours, which stay apart for colour-blind readers; markers repeat the message.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Text on a coloured field: neither follows a page into the dark, as all that is plain black does.
ON_LIGHT, ON_DARK = "#010101", "#fefefe"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BAND = 1.96
MOST_SPOTS = 400
Spot = tuple[float, float, str]
_STYLE = {
    "svg.hashsalt": "isorate",
    "text.parse_math": False,
    # No drawing has ticks at its top: titles stay where they are, and text is not fitted to pixels.
    "axes.titley": 1.0,
    "text.hinting": "none",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "errorbar.capsize": 0,
    "lines.markersize": 5,
    "lines.linewidth": 1.4,
}


def look(i: int) -> tuple[str, str]:
    """(colour, marker) of a figure's line i: a colour comes again with another marker."""
    return COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One drawn figure.

    Attributes:
        name: the name of its files.
        model: the model it shows.
        caption: what it shows and what it leaves out.
        svg: the drawing, deterministic.
        pdf: the same for a paper, text as text.
        width: in inches.
        definition: the definition of Sr that it is drawn for, if for one.
        spots: (x, y, what is there) in the drawing's own units, for whoever points at it.
        published: paper -> points of it that lie within the axes, in the same units; they are
            no part of the drawing, a page may show them.
    """

    name: str
    model: str
    caption: str
    svg: bytes
    pdf: bytes
    width: float
    definition: Definition | None = None
    spots: tuple[Spot, ...] = ()
    published: Mapping[str, tuple[Spot, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A published point in the coordinates of some axes, with its paper."""

    axes: Any
    x: float
    y: float
    said: str
    paper: str


_SLUG = 80  # file systems take 255 bytes; the kind of figure and a suffix are added


def slug(name: str) -> str:
    """A part of a file name for a model: letters, digits, dots and dashes, at most 80 of them."""
    found = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "model"
    if len(found) <= _SLUG:
        return found
    return f"{found[: _SLUG - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@contextmanager
def canvas(
    width: float, height: float, columns: int = 1, *, font: float = 9
) -> Iterator[tuple[Any, list[Any]]]:
    """A figure outside of pyplot, so that nothing global is touched.

    Args:
        width: inches.
        height: inches.
        columns: axes beside each other.
        font: points of the text; titles are one larger, legends one smaller.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    sizes = {"font.size": font, "axes.titlesize": font + 1, "legend.fontsize": font - 1}
    with mpl.rc_context({**_STYLE, **sizes, "font.family": families()}):
        drawing: Any = Drawing(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawing)
        drawing.spots, drawing.published = [], []
        axes = drawing.subplots(1, columns, squeeze=False)[0]
        yield drawing, list(axes)


def settle(drawing: Any) -> None:
    """Lay out once, then hold still: labels are placed in this layout."""
    if (engine := drawing.get_layout_engine()) is not None:
        engine.execute(drawing)
        drawing.set_layout_engine("none")


def bars(stderr: Any) -> Any:
    """Lengths of error bars: none where an error is unknown, or too large for any axis."""
    return np.nan_to_num(stderr, posinf=0.0)


def finished(
    drawing: Any, name: str, model: str, caption: str, definition: Definition | None = None
) -> Figure:
    """Save a drawing in all formats, without dates or program names."""
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    settle(drawing)
    # Each canvas draws once; `savefig` would draw everything twice, to lay out what is settled.
    drawing.dpi = 72
    svg, pdf = io.BytesIO(), io.BytesIO()
    FigureCanvasSVG(drawing).print_svg(svg, metadata={"Date": None, "Creator": None})
    nobody = {"CreationDate": None, "Creator": None, "Producer": None}
    FigureCanvasPdf(drawing).print_pdf(pdf, metadata=nobody)
    return Figure(
        name=f"{name}_{slug(model)}",
        model=model,
        caption=caption,
        svg=svg.getvalue(),
        pdf=pdf.getvalue(),
        width=drawing.get_figwidth(),
        definition=definition,
        spots=_spots(drawing),
        published=_published(drawing),
    )


def _spots(drawing: Any) -> tuple[Spot, ...]:
    """What `points` drew, in points from the upper left corner; none of a crowd."""
    if len(drawing.spots) > MOST_SPOTS:
        return ()
    return tuple(_placed(drawing, *spot) for spot in drawing.spots)


def _placed(drawing: Any, axes: Any, x: float, y: float, said: str) -> Spot:
    height = drawing.get_figheight() * drawing.dpi
    right, up = axes.transData.transform((x, y))
    return round(float(right), 1), round(float(height - up), 1), said


def _published(drawing: Any) -> dict[str, tuple[Spot, ...]]:
    """The published points that the axes reach, by paper."""
    found: dict[str, list[Spot]] = {}
    for one in drawing.published:
        (left, right), (low, high) = one.axes.get_xlim(), one.axes.get_ylim()
        if left <= one.x <= right and low <= one.y <= high:
            spot = _placed(drawing, one.axes, one.x, one.y, one.said)
            found.setdefault(one.paper, []).append(spot)
    return {paper: tuple(spots) for paper, spots in found.items()}


def points(
    axes: Any,
    rows: pd.DataFrame,
    x: str,
    y: str,
    colour: str,
    marker: str,
    label: str,
    *,
    scale: float = 1.0,
    line: str = "",
) -> None:
    """Points with one standard error; those without one get no bar.

    A line ("-", "--", ...) gets the pointwise 95 % band of its points, where they have standard
    errors.
    """
    if rows.empty:
        return
    if "name" in rows:
        axes.figure.spots += [
            (axes, scale * at, value, f"{name}: {plus_minus(value, error)}")
            for at, value, error, name in zip(
                rows[x], rows[y], rows[f"{y}_stderr"], rows["name"], strict=True
            )
        ]
    if line and len(rows) > 1:
        half = BAND * rows[f"{y}_stderr"]
        axes.fill_between(
            scale * rows[x], rows[y] - half, rows[y] + half, color=colour, alpha=0.13, linewidth=0
        )
    axes.errorbar(
        scale * rows[x],
        rows[y],
        yerr=rows[f"{y}_stderr"].fillna(0),
        color=colour,
        marker=marker,
        linestyle=line or "none",
        label=label,
        elinewidth=1,
        zorder=3,
    )


def dodge(i: int, count: int, width: float) -> float:
    """Where the i-th of `count` neighbours stands, so that they lie side by side."""
    return width * (i - (count - 1) / 2) / max(count, 1)
