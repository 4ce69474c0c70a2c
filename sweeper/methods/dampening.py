"""The one way to factor a Gram matrix, which the rounding of the matrix itself cannot fail.

A sum of x x^T has no negative eigenvalue. Its floating-point sum may: where inputs lack rank (few
tokens, directions that are never used), the least eigenvalue is as negative as the sum was rounded,
by an amount that depends on the processor. A dampening below that is a matter of luck. So it is
raised step by step for such a matrix, up to what rounding can have done and no further: a matrix
that is indefinite beyond it is wrong, not rounded.

Of a sum of T products, entry ij is off by about sqrt(T) u |x_i| |x_j| (Higham and Mary, 2019,
doi:10.1137/18M1226312; u is the unit roundoff, |x_i| the norm of column i of X). The matrix of
|x_i| |x_j| has one eigenvalue, the trace, so no eigenvalue moves by more than sqrt(T) u trace. The
factorization of n columns adds the like with n in the place of T.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import sqrt
from typing import Any, TypeVar

import torch

from sweeper.errors import several
from sweeper.methods.hessian import Gram, NotPositiveDefinite

RECORD = "raised_dampening"
"""The entry of a stage's result: matrix -> the share of the mean diagonal that it took."""
_STEP = 10.0
_STEPS = 4  # between nothing and the most that is tried

log = logging.getLogger(__name__)
T = TypeVar("T")
_noted: ContextVar[dict[str, float] | None] = ContextVar("raised_dampening", default=None)


def rounding(gram: Gram) -> float:
    """What rounding can have taken off the least eigenvalue, as a share of the mean diagonal."""
    columns = len(gram.matrix)
    unit = float(torch.finfo(gram.matrix.dtype).eps) / 2
    return columns * unit * (sqrt(gram.tokens) + sqrt(columns))


def steps(dampening: float, most: float) -> list[float]:
    """The shares to try: ``dampening``, then ten times as much each time until ``most``."""
    found, share = [dampening], max(dampening, most / _STEP**_STEPS)
    while found[-1] < most:
        share = min(share * _STEP, most)
        found.append(share)
    return found


def factored(
    gram: Gram,
    dampening: float,
    names: Sequence[str],
    attempt: Callable[[torch.Tensor, float], T],
) -> T:
    """What ``attempt`` makes of a Gram matrix, with no more dampening than its rounding asks for.

    Where the first attempt succeeds nothing is different from it. A raised dampening is warned
    of and recorded (see `noted`).

    Args:
        gram: the sum; its matrix may be overwritten.
        dampening: share of the mean diagonal that was asked for.
        names: the matrices that read these inputs.
        attempt: given a matrix of its own, [columns, columns], and a share, factors it, or raises
            `NotPositiveDefinite` before anything else has changed.

    Raises:
        NotPositiveDefinite: the matrix is indefinite beyond rounding, or not finite.
    """
    shares = steps(dampening, rounding(gram))
    for share in shares:
        try:
            matrix = gram.matrix if share == shares[-1] else gram.matrix.clone()
            found = attempt(matrix, share)
        except NotPositiveDefinite:
            if share == shares[-1] or not torch.isfinite(gram.matrix).all():
                raise
            continue
        if share != dampening:
            _note(names, dampening, share)
        return found
    raise AssertionError("the last share either factors or raises")


def _note(names: Sequence[str], asked: float, used: float) -> None:
    log.warning(
        "%s: the inputs lack rank, and with a dampening of %g the rounding of their sum leaves no "
        "Cholesky factor: %.2g is used. More calibration text would be better.",
        several(list(names)),
        asked,
        used,
    )
    known = _noted.get()
    if known is not None:
        known.update(dict.fromkeys(names, used))


@contextmanager
def noted() -> Iterator[dict[str, Any]]:
    """Inside, every raised dampening is kept; afterwards the result's entry, {} if none was."""
    entry: dict[str, Any] = {}
    known: dict[str, float] = {}
    token = _noted.set(known)
    try:
        yield entry
    finally:
        _noted.reset(token)
    if known:
        entry[RECORD] = known
