"""Tests that may be looked at again and again: the normal mixture, valid at every stopping time.

An estimate D of a difference that is 0, with variance V, makes

    M = sqrt(rho V / (1 + rho V)) exp(z^2 / (2 (1 + rho V))),    z = D / sqrt(V)

a martingale of mean 1 while documents are added: it is the likelihood ratio of a difference drawn
from N(0, 1/rho) against none. That M ever exceeds 1/alpha has a probability of at most alpha
(Ville 1939; Robbins 1970, *Annals of Mathematical Statistics* 41, 1397; Howard et al. 2021, *Annals
of Statistics* 49, 1055, eq. 14), so 1/M is a p value however often one looks and whenever one
stops. That V is estimated and D only nearly normal makes it asymptotic (Waudby-Smith et al. 2024,
ibid. 52, 2613).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from analysis.metrics import Array

EXPECTED_SPREAD = 0.1
"""Standard deviation of true differences of Sr at equal rate that is expected where nothing else is
said: ten points of the dense model."""


def mixture_rho(spread: float) -> float:
    """Rho for differences that are expected to have this standard deviation.

    The mixture is over N(0, spread^2), so rho = 1 / spread^2. The boundary is then lowest, as seen
    from 0, at the information I* = (2 ln(1/a) + ln(1 + 2 ln(1/a))) / spread^2 (Howard et al. 2021,
    eq. 23), which is where a difference of one spread is about to be told.

    Args:
        spread: standard deviation of true differences, above 0; never taken from the data that are
            tested.
    """
    return 1 / spread**2


def mixture_boundary(variance: ArrayLike, alpha: ArrayLike, rho: float) -> Array:
    """The |z| at which a difference is told at level alpha, two-sided, at any look.

    Args:
        variance: V of the difference, above 0; it broadcasts with alpha.
        alpha: the level.
        rho: see `mixture_rho`.
    """
    scaled = rho * np.asarray(variance, dtype=float)
    level = np.asarray(alpha, dtype=float)
    return np.asarray(np.sqrt((1 + scaled) * (np.log1p(1 / scaled) - 2 * np.log(level))))


def mixture_p(z: ArrayLike, variance: ArrayLike, rho: float) -> Array:
    """P value of z at this one look, valid at any look: min(1, 1/M).

    The smallest over the looks so far is valid too.

    Args:
        z: differences in standard errors.
        variance: V of the differences, above 0.
        rho: see `mixture_rho`.
    """
    scaled = rho * np.asarray(variance, dtype=float)
    log = 0.5 * np.log1p(1 / scaled) - np.asarray(z, dtype=float) ** 2 / (2 * (1 + scaled))
    return np.asarray(np.exp(np.minimum(log, 0.0)))
