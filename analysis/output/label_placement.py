"""Puts labels beside points so that none covers another, a point or the frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Where to try, in points from the marker: near places first, leader lines for far ones.
_NEAR = ((7, 0), (-7, 0), (6, 8), (6, -8), (-6, 8), (-6, -8), (0, 10), (0, -10))
_FAR = tuple(
    (dx, dy)
    for radius in (20, 32, 46, 62)
    for dx, dy in (
        (radius, 0),
        (-radius, 0),
        (radius, radius),
        (-radius, radius),
        (radius, -radius),
        (-radius, -radius),
        (0, radius),
        (0, -radius),
    )
)

Box = tuple[float, float, float, float]
"""Left, bottom, right and top in pixels; matplotlib's own boxes take ten times as long."""


def place(axes: Any, points: Sequence[tuple[float, float, str]], *, size: float = 7.5) -> int:
    """Label each (x, y, text) of a laid-out matplotlib axes.

    Returns:
        How many labels found no free place and were left out.
    """
    renderer = axes.figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer).extents.tolist()
    dots = axes.transData.transform([(x, y) for x, y, _ in points]).tolist() if points else []
    taken = [(px - 4, py - 4, px + 4, py + 4) for px, py in dots]
    if (legend := axes.get_legend()) is not None:
        taken.append(legend.get_window_extent(renderer).extents.tolist())
    dropped = 0
    for (x, y, text), (px, py) in zip(points, dots, strict=True):
        width, height = _extent(axes, text, size, renderer)
        for dx, dy in (*_NEAR, *_FAR):
            box = _beside(px, py, width, height, dx, dy, axes.figure.dpi / 72)
            if _inside(box, frame) and not any(_overlap(box, other) for other in taken):
                taken.append((box[0] - 6, box[1] - 6, box[2] + 6, box[3] + 6))
                _write(axes, (x, y), text, (dx, dy), size)
                break
        else:
            dropped += 1
    return dropped


def _write(
    axes: Any, at: tuple[float, float], text: str, offset: tuple[int, int], size: float
) -> None:
    axes.annotate(
        text,
        at,
        xytext=offset,
        textcoords="offset points",
        fontsize=size,
        va="center",
        ha="left" if offset[0] > 0 else "right" if offset[0] < 0 else "center",
    )
    if offset not in _NEAR:
        # A plain line in data coordinates: matplotlib's own arrows cost more than all the rest.
        scale = axes.figure.dpi / 72
        end = axes.transData.transform(at) + [0.9 * o * scale for o in offset]
        ends = zip(at, axes.transData.inverted().transform(end), strict=True)
        axes.plot(*ends, color="#888888", linewidth=0.5, scalex=False, scaley=False, zorder=1)


def _beside(
    px: float, py: float, width: float, height: float, dx: int, dy: int, scale: float
) -> Box:
    """The box of words (pixels) at an offset (points) from a marker (pixels)."""
    x, y = px + dx * scale, py + dy * scale
    left = x if dx > 0 else x - width if dx < 0 else x - width / 2
    return left, y - height / 2, left + width, y + height / 2


def _extent(axes: Any, text: str, size: float, renderer: Any) -> tuple[float, float]:
    probe = axes.text(0, 0, text, fontsize=size)
    extent = probe.get_window_extent(renderer)
    probe.remove()
    return extent.width, extent.height


def _inside(box: Box, frame: Box) -> bool:
    return frame[0] <= box[0] and frame[1] <= box[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _overlap(one: Box, two: Box) -> bool:
    return one[0] <= two[2] and two[0] <= one[2] and one[1] <= two[3] and two[1] <= one[3]
