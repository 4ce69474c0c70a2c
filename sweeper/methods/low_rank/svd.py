"""The truncated SVD of a matrix whose columns are scaled or whitened first, as two factors."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sweeper.methods.hessian import NotPositiveDefinite


@dataclass(frozen=True, kw_only=True)
class Factors:
    """A matrix at a lower rank, W' = outer inner.

    Attributes:
        inner: [rank, columns], float64.
        outer: [rows, rank], float64.
        loss: the sum of the dropped squared singular values of W S: the squared error
            of W' S against W S.
    """

    inner: torch.Tensor
    outer: torch.Tensor
    loss: float


def whitening(gram: torch.Tensor, dampening: float) -> torch.Tensor:
    """The lower Cholesky factor S of the damped Gram matrix of the inputs, S S^T = X^T X.

    With it the loss of truncation is exact: ||(W - W') X^T|| = ||(W - W') S|| (SVD-LLM,
    arXiv 2403.12403, section 3.1).

    Args:
        gram: [columns, columns], symmetric.
        dampening: share of the mean diagonal that is added to the diagonal.

    Raises:
        NotPositiveDefinite: the damped matrix cannot be factored.
    """
    damped = gram.double().clone()
    damped.diagonal().add_(dampening * damped.diagonal().mean())
    factor: torch.Tensor
    factor, wrong = torch.linalg.cholesky_ex(damped)
    if wrong.item() or not torch.isfinite(factor).all():
        raise NotPositiveDefinite
    return factor


def truncated(weight: torch.Tensor, scale: torch.Tensor, rank: int) -> Factors:
    """The best approximation of W S at a rank, taken back through S.

    The singular vectors come from the smaller of the two Gram matrices of W S in float64;
    the square root of each singular value goes to either factor, so both round alike.

    Args:
        weight: W, [rows, columns].
        scale: S, [columns, columns] lower triangular and invertible, or [columns], a diagonal.
        rank: singular values that are kept.
    """
    dense, s = weight.double(), scale.double()
    wide, squares, vectors, scaled = _decomposed(dense, s)
    vectors, root = vectors[:, -rank:], squares[-rank:].sqrt().sqrt()
    # a singular value of 0 has no part in the product, whatever it is divided by
    divisor = root.clamp_min(torch.finfo(root.dtype).tiny)
    if wide:  # vectors are the left ones: U^T W S S^-1 = U^T W
        inner, outer = (vectors / divisor).T @ dense, vectors * root
    else:  # vectors are the right ones, [columns, rank]
        inner, outer = (_unscaled(vectors, s) * root).T, scaled @ (vectors / divisor)
    return Factors(inner=inner, outer=outer, loss=float(squares[:-rank].sum()))


def losses(weight: torch.Tensor, scale: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
    """What each singular value of W S takes of ||X W'^T - X W^T||^2 when it is dropped.

    The error of a rank is the sum over what it drops: left singular vectors are orthogonal in
    the outputs, and right ones belong to outputs that are. With S S^T = X^T X these are the
    squared singular values themselves.

    Args:
        weight: W, [rows, columns].
        scale: S, as in `truncated`.
        gram: X^T X of the inputs on which the error is taken, [columns, columns].

    Returns:
        [min(rows, columns)], float64, in the order of the singular values, the least first.
    """
    dense, s, inputs = weight.double(), scale.double(), gram.double()
    wide, squares, vectors, _ = _decomposed(dense, s)
    if wide:
        outputs = vectors.T @ dense  # u^T W, the rows of what is dropped
        return ((outputs @ inputs) * outputs).sum(1)
    rows = _unscaled(vectors, s)
    return squares * ((inputs @ rows) * rows).sum(0)


def _decomposed(
    dense: torch.Tensor, scale: torch.Tensor
) -> tuple[bool, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(whether vectors are left ones, squared singular values ascending, vectors, W S)."""
    scaled = dense @ scale if scale.dim() == 2 else dense * scale
    wide = dense.shape[0] <= dense.shape[1]
    squares, vectors = torch.linalg.eigh(scaled @ scaled.T if wide else scaled.T @ scaled)
    return wide, squares.clamp_min(0), vectors, scaled


def _unscaled(vectors: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """S^-T V: what the right vectors are without the scaling."""
    if scale.dim() == 1:
        return vectors / scale[:, None]
    return torch.linalg.solve_triangular(scale.T, vectors, upper=True)
