"""Names in a row, as every message and note has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np


def listed(names: Sequence[str], most: int = 8, between: str = "; ") -> str:
    """'a; b; c and 4 more'."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


NAMES = {
    "sr1": "Sr1",
    "sr2": "Sr2",
    "srcr_p": "SrCr_p",
    "srcr_q": "SrCr_q",
    "srcr_j": "SrCr_j",
}


LONGEST, END = 34, 12  # characters of a name in a drawing, and of its end


def percent(rate: Fraction | float) -> str:
    """A rate with as many digits as it needs, three at most for thirds: 81.25 %, 83.333 %."""
    hundred = 100 * float(rate)
    digits = 4 if abs(hundred - round(hundred, 4)) < 1e-9 else 3
    return f"{hundred:.{digits}f}".rstrip("0").rstrip(".") + " %"


def megabytes(size: float) -> str:
    """Bytes as '113.2 MB'."""
    return f"{size / 1e6:.1f} MB"


def p_value(p: float) -> str:
    """'p = 0.012', 'p < 0.001'."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def difference(value: float, low: float, high: float, p: float) -> str:
    """'0.108 (95 % CI 0.083 to 0.134, p < 0.001)'; without what is not known."""
    ends = f"95 % CI {low:.3f} to {high:.3f}" if np.isfinite([low, high]).all() else ""
    known = ", ".join(filter(None, [ends, p_value(p) if np.isfinite(p) else ""]))
    return f"{value:.3f} ({known})" if known else f"{value:.3f}"


def plus_minus(value: float, stderr: float, digits: int = 3) -> str:
    """'0.818 ± 0.009'; '1' for the baseline; the gap is said, never printed as a number."""
    if not np.isfinite(value):
        return "–"
    if stderr == 0 and value == 1:
        return "1"
    if not np.isfinite(stderr):
        return f"{value:.{digits}f} ± ?"
    if 0 < stderr < 10.0**-digits:  # a small error is not none: show its first digit
        digits = min(6, -math.floor(math.log10(stderr)))
    return f"{value:.{digits}f} ± {stderr:.{digits}f}"


def short(name: str) -> str:
    """A name as a drawing has room for it: without its middle, the end tells namesakes apart."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - END - 1]}…{name[-END:]}"
