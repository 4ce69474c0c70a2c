"""Tests of all pairs of a group: for one look, and for a sweep that grew after it was looked at.

Whoever adds documents because a difference is not told yet gives chance another try. So in a sweep
that grew every p value is one that holds at all looks together (the normal mixture, see
`analysis.statistics.sequential`), and a verdict is the one of the look at which it fell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.metrics import Array
from analysis.statistics.holm import holm
from analysis.statistics.sequential import (
    EXPECTED_SPREAD,
    mixture_boundary,
    mixture_p,
    mixture_rho,
)

_RHO = mixture_rho(EXPECTED_SPREAD)


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """The differences of k cells at one look.

    Attributes:
        z: (k, k) row minus column in standard errors; nan where one is missing.
        variance: (k, k) of the differences of Sr.
    """

    z: Array
    variance: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Told:
    """What the tests of a group say; k cells.

    Attributes:
        adjusted: (k, k) p values by Holm over all pairs; nan where there is no test.
        ahead: (k, k) above 0 where the row was better than the column when this was told.
        look: (k, k) the look at which `adjusted` fell to the level, from 1; 0 where it did not, or
            where there was one look only.
        family: number of tests.
    """

    adjusted: Array
    ahead: Array
    look: NDArray[np.int_]
    family: int


def once(look: Look, alike: NDArray[np.bool_]) -> Told:
    """Two-sided z tests, valid for one look.

    Args:
        look: the differences.
        alike: (k, k) pairs that are not tested: cells of one method.
    """
    z = np.where(alike, np.nan, look.z)
    raw = np.asarray(special.erfc(np.abs(z) / np.sqrt(2)))
    adjusted, family = _corrected(raw)
    return Told(adjusted=adjusted, ahead=z, look=np.zeros(z.shape, dtype=int), family=family)


def repeated(looks: Sequence[Look], alike: NDArray[np.bool_], alpha: float) -> Told:
    """Tests that hold at all looks together, however many there were and why.

    Args:
        looks: oldest first.
        alike: (k, k) pairs that are not tested.
        alpha: the level at which a verdict falls.
    """
    shape = alike.shape
    p, ahead = np.full(shape, np.nan), np.zeros(shape)
    fell = np.zeros(shape, dtype=int)
    adjusted, family = np.full(shape, np.nan), 0
    for number, look in enumerate(looks, 1):
        known = np.isfinite(look.z) & (look.variance > 0)
        safe = np.where(known, look.variance, 1.0)
        now = np.where(known, mixture_p(np.where(known, look.z, 0.0), safe, _RHO), np.nan)
        now = np.where(~known & (look.z == 0), 1.0, now)  # the same answers to all documents
        now = np.where(alike, np.nan, now)
        less = np.isfinite(now) & ~(p <= now)
        p, ahead = np.where(less, now, p), np.where(less, look.z, ahead)
        adjusted, family = _corrected(p)
        fell[(adjusted <= alpha) & (fell == 0)] = number
    return Told(adjusted=adjusted, ahead=ahead, look=fell, family=family)


def always(stderr: Array, alpha: float) -> Array:
    """Half the width of an interval that holds the truth at all looks together.

    Args:
        stderr: of differences of Sr.
        alpha: 1 minus its coverage.
    """
    return stderr * _boundary(stderr, alpha)


def _boundary(stderr: Array, alpha: float) -> Array:
    known = stderr > 0
    return np.where(known, mixture_boundary(np.where(known, stderr, 1.0) ** 2, alpha, _RHO), 0.0)


def equivalent(difference: Array, stderr: Array, *, margin: float) -> Array:
    """P value of equivalence that holds at all looks: the level at which `always` fits the margin.

    Args:
        difference: of Sr.
        stderr: of it; nan where it is missing.
        margin: the largest difference that counts as none.
    """
    room = margin - np.abs(difference)
    known = stderr > 0
    safe = np.where(known, stderr, 1.0)
    found = mixture_p(np.where(room > 0, room / safe, 0.0), safe**2, _RHO)
    found = np.where((stderr == 0) & (room > 0), 0.0, found)
    return np.where(np.isnan(stderr) | np.isnan(difference), np.nan, found)


def _corrected(raw: Array) -> tuple[Array, int]:
    """(k, k) Holm-corrected p values over all pairs, and the number of tests."""
    upper = np.triu_indices(len(raw), k=1)
    adjusted = np.full(raw.shape, np.nan)
    adjusted[upper] = holm(raw[upper])
    adjusted.T[upper] = adjusted[upper]
    return adjusted, int(np.isfinite(raw[upper]).sum())
