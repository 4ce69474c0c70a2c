"""Names in a row, as every message and note has them."""

from __future__ import annotations

from collections.abc import Sequence


def listed(names: Sequence[str], most: int = 8, between: str = "; ") -> str:
    """'a; b; c and 4 more'."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more
