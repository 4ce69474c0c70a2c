"""Whether two cells differ by less than matters: a claim of its own, never a failed test.

"Differs little" is shown by two one-sided tests (Schuirmann 1987): both that the
difference is above minus the margin and that it is below the margin, each at 5 %.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.metrics import Array

MARGIN = 0.02
"""The difference in retention that does not matter here: 2 points of the dense model."""


def tost(
    difference: ArrayLike, stderr: ArrayLike, *, margin: float = MARGIN, df: float = np.inf
) -> Array:
    """P value of equivalence: small if |difference| < margin beyond reasonable doubt.

    Args:
        difference: of two retentions.
        stderr: its standard error.
        margin: the largest difference that counts as none, above 0.
        df: degrees of freedom behind the standard error.

    Returns:
        The larger of the two one-sided p values; nan where the standard error is missing.

    Raises:
        ValueError: if the margin is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"a margin of equivalence is above 0, not {margin}")
    value, error = np.asarray(difference, dtype=float), np.asarray(stderr, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (margin - np.abs(value)) / error
    t = np.where((error == 0) & (np.abs(value) == margin), 0.0, t)
    return np.asarray(stats.t.sf(t, df))
