"""Words for people: durations, sizes and plain tables."""

from __future__ import annotations

from collections.abc import Sequence


def duration(seconds: float) -> str:
    """'48 s', '6 min 05 s', '3 h 20 min', '2 d 04 h'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def size(count: float) -> str:
    """'270 MB', '15.0 GB': decimal units, as disks are sold."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5:  # what rounds to 1000 has the next unit
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"


def count(number: int, noun: str) -> str:
    """'1 cell', '7 cells'."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns with a rule below the head."""
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(str(c).ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in [head, ["-" * w for w in widths], *rows]
    ]
    return "\n".join(lines)
