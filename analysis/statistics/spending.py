"""Group-sequential tests: a level that is spent over looks which were fixed beforehand.

Lan and DeMets (1983, *Biometrika* 70, 659) let a function of the information say how much of the
level may have been spent by each look; the boundary follows by integrating over the paths that
have not crossed yet (Armitage, McPherson and Rowe 1969, *JRSS A* 132, 235). The function is that of
Pocock's type, alpha ln(1 + (e - 1) t), which spends early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from analysis.metrics import Array

_NODES = 100
_DEPTHS = np.linspace(0.02, 6.8, 100)
"""sqrt(-ln alpha) of a table's levels, from just below 1 to 1e-20: boundaries are nearly straight
lines in it."""


def spent(fraction: ArrayLike, alpha: float) -> Array:
    """The level that may have been spent at a share of the information: alpha ln(1 + (e-1) t).

    Args:
        fraction: information over that of all documents, from 0 to 1.
        alpha: the level of the whole.
    """
    return np.asarray(alpha * np.log1p((np.e - 1) * np.asarray(fraction, dtype=float)))


def boundaries(fractions: Sequence[float], alpha: float) -> Array:
    """(K,) the |z| at which a difference is told at each of K looks, two-sided.

    Args:
        fractions: of the information at the looks, increasing, the last at most 1.
        alpha: the level of all looks together.

    Raises:
        ValueError: if the fractions do not increase within (0, 1].
    """
    times = np.asarray(fractions, dtype=float)
    if not len(times) or times[0] <= 0 or times[-1] > 1 + 1e-9 or (np.diff(times) <= 0).any():
        raise ValueError(f"information increases from above 0 to at most 1, not {list(times)}")
    steps = np.diff(spent(times, alpha), prepend=0.0)
    found = [float(-special.ndtri(steps[0] / 2))]
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    edge = found[0] * np.sqrt(times[0])
    place, mass = nodes * edge, weights * edge * _density(nodes * edge, np.sqrt(times[0]))
    for look in range(1, len(times)):
        jump, root = np.sqrt(times[look] - times[look - 1]), np.sqrt(times[look])
        found.append(_crossing(place, mass, jump, root, steps[look]))
        edge = found[-1] * root
        density = _density(nodes[:, None] * edge - place[None, :], jump) @ mass
        place, mass = nodes * edge, weights * edge * density
    return np.array(found)


def _density(x: Array, scale: float) -> Array:
    return np.asarray(np.exp(-0.5 * (x / scale) ** 2) / (scale * np.sqrt(2 * np.pi)))


def _crossing(place: Array, mass: Array, jump: float, root: float, step: float) -> float:
    """The boundary that paths which are at `place` with `mass` cross with the probability `step`.

    By bisection: what crosses falls from all of it to nothing as the boundary rises.
    """
    low, high = 0.0, 12.0
    for _ in range(50):
        middle = (low + high) / 2
        edge = middle * root
        out = special.ndtr((-edge - place) / jump) + special.ndtr((place - edge) / jump)
        low, high = (middle, high) if float(mass @ out) > step else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class SpendingTable:
    """Boundaries at every level for one schedule, so that z can be turned into a p value.

    Attributes:
        fractions: (K,) information at the looks over that of all documents.
    """

    fractions: tuple[float, ...]

    @cached_property
    def _table(self) -> Array:
        """(levels, K) boundaries, the widest level first."""
        return np.array([boundaries(self.fractions, float(np.exp(-(d**2)))) for d in _DEPTHS])

    def boundary(self, look: int, alpha: ArrayLike) -> Array:
        """The |z| at which a difference is told at a look (from 0), all looks at level alpha."""
        depth = np.sqrt(-np.log(np.asarray(alpha, dtype=float)))
        return np.asarray(np.interp(depth, _DEPTHS, self._table[:, look]))

    def p(self, z: ArrayLike, look: int) -> Array:
        """The smallest level at which |z| crosses at this look; that of the last is the least."""
        column = np.maximum.accumulate(self._table[:, look])
        depth = np.interp(np.abs(np.asarray(z, dtype=float)), column, _DEPTHS, left=0.0)
        return np.asarray(np.exp(-(depth**2)))


@lru_cache(maxsize=64)
def table(fractions: tuple[float, ...]) -> SpendingTable:
    """The table of a schedule, made once."""
    return SpendingTable(fractions)
