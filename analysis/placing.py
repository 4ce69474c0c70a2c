"""Puts labels beside points so that none covers another, a point or the frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Where to try, in points from the marker: near places first, leader lines for far ones.
_NEAR = ((7, 0), (-7, 0), (6, 8), (6, -8), (-6, 8), (-6, -8), (0, 10), (0, -10))
_FAR = tuple((dx, dy) for radius in (20, 32, 46, 62) for dx, dy in (
    (radius, 0), (-radius, 0), (radius, radius), (-radius, radius), (radius, -radius),
    (-radius, -radius), (0, radius), (0, -radius),
))  # fmt: skip


def place(axes: Any, points: Sequence[tuple[float, float, str]], *, size: float = 7.5) -> int:
    """Label each (x, y, text) of a laid-out matplotlib axes.

    Returns:
        How many labels found no free place and were left out.
    """
    canvas = axes.figure.canvas
    renderer = canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    taken = [_dot(axes, x, y) for x, y, _ in points]
    if (legend := axes.get_legend()) is not None:
        taken.append(legend.get_window_extent(renderer))
    dropped = 0
    for x, y, text in points:
        for dx, dy in (*_NEAR, *_FAR):
            label = axes.annotate(
                text, (x, y), xytext=(dx, dy), textcoords="offset points", fontsize=size,
                ha="left" if dx > 0 else "right" if dx < 0 else "center", va="center",
                arrowprops=None if (dx, dy) in _NEAR else
                {"arrowstyle": "-", "linewidth": 0.5, "color": "#888888", "shrinkB": 3},
            )  # fmt: skip
            box = _words(label, renderer)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 \
                and box.y1 <= frame.y1  # fmt: skip
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box.padded(3))
                break
            label.remove()
        else:
            dropped += 1
    return dropped


def _words(label: Any, renderer: Any) -> Any:
    """The extent of the words alone, without the leader line."""
    from matplotlib.text import Text

    label.update_positions(renderer)
    return Text.get_window_extent(label, renderer)


def _dot(axes: Any, x: float, y: float) -> Any:
    from matplotlib.transforms import Bbox

    px, py = axes.transData.transform((x, y))
    return Bbox([[px - 4, py - 4], [px + 4, py + 4]])
