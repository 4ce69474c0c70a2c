"""Claims about cells as tests: what is claimed, and the quantity that shows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.data.panel import Panel
from analysis.metrics import Array, Definition, weight_j, weight_p, weight_q
from analysis.reproduction.laborde_tables import config, find
from analysis.statistics.delta_method import propagate

MARGIN = 0.05
"""What "differs little" and "around 20 %" are taken to mean: within 0.05 of retention."""


class Found(NamedTuple):
    """A recomputed quantity and the range in which the claim would be true."""

    value: float
    stderr: float
    low: float = 0.0
    high: float = math.inf
    note: str = ""
    cases: int = 1
    """Of how many cases this is the worst one, for a claim about all of them."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of a source.

    Attributes:
        key: short and unique.
        where: the section, figure or table that makes it.
        claim: what is claimed, in our words.
        reading: the quantity that is tested and the range in which the claim is true.
        test: panel and definition of Sr -> the quantity; `Missing` when cells lack.
        model: only for models whose name has this word, or that have none of MODELS.
        by_definition: whether it is asked under Sr1 and Sr2 or, without Sr in it, once.
    """

    key: str
    where: str
    claim: str
    reading: str
    test: Callable[[Panel, Definition], Found]
    model: str = ""
    by_definition: bool = True


MODELS = ("llama", "mistral")


class Missing(Exception):
    """A claim needs a cell or a task that the results lack."""


def semantic(
    scores: Array, dense: Array, higher: NDArray[np.bool_], definition: Definition
) -> float:
    """Sr of one cell, eq. 11 or 12, over the tasks whose dense score is finite.

    Args:
        scores: (T,) of the cell.
        dense: (T,) of the baseline.
        higher: (T,) whether higher is better.
        definition: "sr1" or "sr2".
    """
    kept = np.isfinite(dense)
    if definition == "sr2":
        kept &= higher
        return float(scores[kept].sum() / dense[kept].sum())
    return float(np.where(higher, scores / dense, dense / scores)[kept].mean())


def sr_of(
    panel: Panel,
    names: Sequence[str],
    definition: Definition,
    function: Callable[..., float],
    *,
    without: str = "",
) -> tuple[float, float]:
    """(value, error) of a function of the Sr of some cells, named by their labels.

    Args:
        panel: the scores.
        names: labels of the paper's cells.
        definition: of Sr.
        function: of as many numbers as there are names.
        without: a task that is left out.

    Raises:
        Missing: a cell or the baseline lacks, or a score of it.
    """
    if panel.baseline is None:
        raise Missing("no dense baseline")
    rows = [panel.baseline, *(row_of(panel, name) for name in names)]
    keep = np.array([task != without for task in panel.tasks])

    def whole(scores: Array) -> float:
        dense = np.where(keep, scores[0], np.nan)
        return function(*(semantic(s, dense, panel.higher, definition) for s in scores[1:]))

    value, stderr = propagate(panel, rows, whole)
    if not np.isfinite(value):
        raise Missing("; ".join(w for row in rows if (w := panel.why_no_sr(row))) or "no score")
    return value, stderr


def row_of(panel: Panel, name: str) -> int:
    """The row of a cell of the paper.

    Raises:
        Missing: there is none.
    """
    row = find(panel, config(name))
    if row is None:
        raise Missing(f"no cell {name}")
    return row


def better(first: str, second: str) -> Callable[[Panel, Definition], Found]:
    """Sr of the first minus Sr of the second is above 0."""

    def test(panel: Panel, definition: Definition) -> Found:
        return Found(*sr_of(panel, (first, second), definition, lambda a, b: a - b))

    return test


def around(
    first: str, second: str, target: float, *, relative: bool = False
) -> Callable[[Panel, Definition], Found]:
    """The difference (or the ratio minus 1) lies within MARGIN of the target."""

    def test(panel: Panel, definition: Definition) -> Found:
        how = (lambda a, b: a / b - 1) if relative else (lambda a, b: a - b)
        found = sr_of(panel, (first, second), definition, how)
        return Found(*found, target - MARGIN, target + MARGIN)

    return test


def alike(first: str, second: str) -> Callable[[Panel, Definition], Found]:
    """Both Sr differ by less than MARGIN."""
    return around(first, second, 0.0)


def top_weighted(
    kind: str, inside: Sequence[str], outside: Sequence[str]
) -> Callable[[Panel, Definition], Found]:
    """The best SrCr of some cells is above the best of the others; `kind` is p, q or j.

    The best of each side is picked by value, so the test is somewhat bold when several
    are close.
    """

    def test(panel: Panel, definition: Definition) -> Found:
        each = {
            n: sr_of(panel, (n,), definition, lambda a: a)[0] * _weight(kind, n)
            for n in (*inside, *outside)
        }
        one, two = (max(side, key=each.__getitem__) for side in (inside, outside))
        w1, w2 = _weight(kind, one), _weight(kind, two)
        found = sr_of(panel, (one, two), definition, lambda a, b: w1 * a - w2 * b)
        return Found(*found, note=f"{one} {each[one]:.3f}, {two} {each[two]:.3f}")

    return test


def _weight(kind: str, name: str) -> float:
    one = config(name)
    if kind == "p":
        return float(weight_p(one.sparsity))
    return float(weight_q(one.bits) if kind == "q" else weight_j(one.sparsity, one.bits))
