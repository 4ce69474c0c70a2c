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
    renderer = axes.figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    dots = axes.transData.transform([(x, y) for x, y, _ in points]) if points else []
    taken = [_box(px - 4, py - 4, 8, 8) for px, py in dots]
    if (legend := axes.get_legend()) is not None:
        taken.append(legend.get_window_extent(renderer))
    dropped = 0
    for (x, y, text), (px, py) in zip(points, dots, strict=True):
        width, height = _extent(axes, text, size, renderer)
        for dx, dy in (*_NEAR, *_FAR):
            box = _beside(px, py, width, height, dx, dy, axes.figure.dpi / 72)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 \
                and box.y1 <= frame.y1  # fmt: skip
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box.padded(6))
                _write(axes, (x, y), text, (dx, dy), size)
                break
        else:
            dropped += 1
    return dropped


def _write(
    axes: Any, at: tuple[float, float], text: str, offset: tuple[int, int], size: float
) -> None:
    axes.annotate(
        text, at, xytext=offset, textcoords="offset points", fontsize=size, va="center",
        ha="left" if offset[0] > 0 else "right" if offset[0] < 0 else "center",
    )  # fmt: skip
    if offset not in _NEAR:
        # A plain line in data coordinates: matplotlib's own arrows cost more than all the rest.
        scale = axes.figure.dpi / 72
        end = axes.transData.transform(at) + [0.9 * o * scale for o in offset]
        ends = zip(at, axes.transData.inverted().transform(end), strict=True)
        axes.plot(*ends, color="#888888", linewidth=0.5, scalex=False, scaley=False, zorder=1)


def _beside(
    px: float, py: float, width: float, height: float, dx: int, dy: int, scale: float
) -> Any:
    """The box of words (pixels) at an offset (points) from a marker (pixels)."""
    x, y = px + dx * scale, py + dy * scale
    left = x if dx > 0 else x - width if dx < 0 else x - width / 2
    return _box(left, y - height / 2, width, height)


def _extent(axes: Any, text: str, size: float, renderer: Any) -> tuple[float, float]:
    probe = axes.text(0, 0, text, fontsize=size)
    extent = probe.get_window_extent(renderer)
    probe.remove()
    return extent.width, extent.height


def _box(x: float, y: float, width: float, height: float) -> Any:
    from matplotlib.transforms import Bbox

    return Bbox.from_bounds(x, y, width, height)
