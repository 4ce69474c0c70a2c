"""One colour and one marker for each kind of cell, on every figure; titles that fit.

Within a kind, lines differ in shade and dash, never in hue: a hue always means a kind.
"""

from __future__ import annotations

import textwrap
from typing import Any

KIND_STYLE = {
    "dense": ("#000000", "*"),
    "pruning": ("#009E73", "s"),
    "quantization": ("#0072B2", "o"),
    "joint": ("#D55E00", "D"),
}
"""Kind of cell -> colour (Okabe and Ito's, which colour-blind readers tell apart) and marker."""

KIND_NAMES = {
    "dense": "dense",
    "pruning": "pruned",
    "quantization": "quantized",
    "joint": "pruned and quantized",
}

WIDTH = 5.6  # inches: two side by side on a page, and readable on a phone
FONT = 10.0
FAINT = "#999999"  # what is no measurement: fronts, ranges
LABEL = 9.0
_TITLE = 66  # characters of a line of a title at this width
_LINES = 2

_DASHES = ("-", "--", ":", "-.")
_LIGHTER = 0.62


def line_style(kind: str, i: int, count: int) -> tuple[str, str]:
    """(colour, dash) of line i of `count` lines of one kind."""
    share = _LIGHTER * (i // len(_DASHES)) / max(1, (count - 1) // len(_DASHES))
    return _mixed(KIND_STYLE[kind][0], share), _DASHES[i % len(_DASHES)]


def _mixed(colour: str, share: float) -> str:
    """A colour with a share of white in it."""
    parts = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(one + (255 - one) * share):02X}" for one in parts)


def titled(drawing: Any, finding: str) -> None:
    """Give a drawing its finding as the title, in at most two lines; the rest is cut and marked."""
    wide = int(_TITLE * drawing.get_figwidth() / WIDTH)
    lines = textwrap.wrap(finding, wide, max_lines=_LINES, placeholder=" …")
    drawing.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=FONT + 0.5)
