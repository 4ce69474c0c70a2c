"""Layer Hessians H = 2 X^T X of the calibration inputs, one for all matrices that read the same X.

The query, key and value projections of a decoder layer see the same input, and so do
gate and up: their Hessians are equal. They are summed and inverted once, and only the
lower triangle is computed, which halves the cost of calibration.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

_PANEL = 256  # columns per panel of the lower triangle: small enough to skip almost half
_ITERATIONS, _CLOSE = 200, 1e-4
WIDE_COLUMNS = 2**14
"""The most columns whose sum is taken in float64 where it is asked for: 2 GiB. By size alone, so
that a model has the same numbers on every machine."""


class NotPositiveDefinite(Exception):
    """The damped Hessian has no Cholesky factor."""


class Gram(NamedTuple):
    """A sum of x x^T over tokens, up to a factor.

    Attributes:
        matrix: [columns, columns], symmetric, in the precision in which it was summed.
        tokens: how many products each entry is the sum of.
    """

    matrix: torch.Tensor
    tokens: int


class Hessians:
    """Sums of x x^T over calibration tokens, by input.

    They are in float32, as the original SparseGPT and GPTQ have them, or with ``wide`` in float64
    up to `WIDE_COLUMNS`: that costs twice the time of the sum, which is little beside the
    eigenvectors of whoever asks for it.

    Two matrices share a Hessian when the very same tensor object is passed to both in
    the first batch; later batches must repeat that, else it is a bug in the caller.
    """

    def __init__(self, *, wide: bool = False) -> None:
        self._wide = wide
        self._sums: dict[torch.nn.Module, torch.Tensor] = {}
        self._owner: dict[torch.nn.Module, torch.nn.Module] = {}
        self._tokens: dict[torch.nn.Module, int] = {}
        # the reference keeps the tensor alive, so that its identity means something
        self._last: tuple[torch.Tensor, torch.nn.Module] | None = None

    def __len__(self) -> int:
        return len(self._owner)

    def add(self, module: torch.nn.Module, inputs: torch.Tensor) -> None:
        """Adds one batch of inputs, shape [..., columns]."""
        shared = self._last is not None and self._last[0] is inputs
        source = self._last[1] if shared and self._last is not None else module
        owner = self._owner.setdefault(module, source)
        if owner is not module:
            assert owner is source, "two matrices shared an input in one batch but not in another"
            return
        self._last = (inputs, module)
        size = inputs.shape[-1]
        dtype = torch.float64 if self._wide and size <= WIDE_COLUMNS else torch.float32
        rows = inputs.detach().reshape(-1, size).to(dtype)
        if module not in self._sums:
            self._sums[module] = torch.zeros(size, size, dtype=dtype, device=rows.device)
            self._tokens[module] = 0
        _add_lower_triangle(self._sums[module], rows)
        self._tokens[module] += rows.shape[0]

    def take(self) -> Iterator[tuple[list[torch.nn.Module], Gram]]:
        """Yields (matrices, their Hessian) and forgets each."""
        self._last = None
        groups: dict[torch.nn.Module, list[torch.nn.Module]] = {}
        for module, owner in self._owner.items():
            groups.setdefault(owner, []).append(module)
        self._owner = {}
        for owner, modules in groups.items():
            tokens = self._tokens.pop(owner)
            lower = self._sums.pop(owner).mul_(2.0 / tokens)
            yield modules, Gram(lower.tril_().add_(lower.tril(-1).t()), tokens)


def _add_lower_triangle(total: torch.Tensor, rows: torch.Tensor) -> None:
    """Add rows^T rows to ``total``, on and below the diagonal (up to a panel)."""
    for start in range(0, total.shape[0], _PANEL):
        stop = min(start + _PANEL, total.shape[0])
        total[start:stop, :stop].addmm_(rows[:, start:stop].t(), rows[:, :stop])


def energy(weight: torch.Tensor, hessian: torch.Tensor) -> float:
    """||X W^T||^2 of a weight [rows, columns], up to the factor of the Hessian."""
    return float(((weight @ hessian) * weight).sum())


def first_direction(hessian: torch.Tensor) -> tuple[float, torch.Tensor]:
    """The largest eigenvalue of a Gram matrix and its direction, [columns], by power iteration.

    It stops once the eigenvalue changes by less than 1e-4 of itself; where two are that near to
    each other the direction is one of their plane. Of a matrix of zeros, (0, zeros).
    """
    direction = hessian.diagonal() / hessian.diagonal().norm().clamp_min(1e-30)
    largest = 0.0
    for _ in range(_ITERATIONS):
        turned = hessian @ direction
        size, before = float(turned.norm()), largest
        if not 0 < size < float("inf"):
            return 0.0, torch.zeros_like(direction)
        direction, largest = turned / size, size
        if abs(size - before) <= _CLOSE * size:
            break
    return largest, direction


def dampen(hessian: torch.Tensor, dampening: float) -> torch.Tensor:
    """Adds a share of the mean diagonal, in place; boolean [columns], inputs never active."""
    diagonal = torch.diagonal(hessian)
    dead = diagonal == 0
    diagonal.masked_fill_(dead, 1.0)
    diagonal.add_(dampening * diagonal.mean())
    return dead


def inverse_factor(hessian: torch.Tensor, dampening: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Upper Cholesky factor U of the damped inverse, H^-1 = U^T U (SparseGPT, section 3.4).

    Args:
        hessian: [columns, columns], symmetric; overwritten.
        dampening: share of the mean diagonal that is added to the diagonal.

    Returns:
        The factor, and a boolean [columns]: inputs that were never active.

    Raises:
        NotPositiveDefinite: the damped Hessian cannot be factored.
    """
    dead = dampen(hessian, dampening)
    lower, wrong = torch.linalg.cholesky_ex(hessian)
    if wrong.item():
        raise NotPositiveDefinite
    upper, wrong = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
    if wrong.item() or not torch.isfinite(upper).all():
        raise NotPositiveDefinite
    return upper, dead
