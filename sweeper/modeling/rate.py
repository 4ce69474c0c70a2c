"""The theoretical compression rate, TCr (Laborde et al., arXiv:2505.07289, eq. 1)."""

from __future__ import annotations

DENSE_BITS = 16
"""Bits of a weight of the dense model, as rates count them."""


def compression_rate(bits: float, sparsity: float) -> float:
    """1 - (q / 16) (1 - p): the share of the dense weights' bits that is saved.

    Args:
        bits: q, bits of a weight that is left, 0 < q <= 16.
        sparsity: p, the share of weights that are zero, in [0, 1).
    """
    return 1 - bits / DENSE_BITS * (1 - sparsity)
