"""What a compressed weight takes in storage, in bits, which TCr leaves out.

effective bits = q (1 - s) + mask + scales and zero points, over all linear weights; what
stays at 16 bit (embeddings, head, norms) is added by `whole_bytes`.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from analysis.metrics import DENSE_BITS, Array

_N_OF_M = re.compile(r"(\d+):(\d+)")
_NODES = 512


def entropy(share: float) -> float:
    """-s log2 s - (1-s) log2 (1-s) in bits: the least that a mask of independent bits takes."""
    if not 0 < share < 1:
        return 0.0
    return -share * math.log2(share) - (1 - share) * math.log2(1 - share)


def bitmask_bits(sparsity: float) -> float:
    """One bit per weight as soon as anything is pruned."""
    return 1.0 if sparsity > 0 else 0.0


def best_mask_bits(sparsity: float, pattern: str) -> float:
    """The least that the mask can take: log2 C(m, n) / m for n:m, else its entropy H(s).

    1:4 0.5, 2:8 0.601, 1:3 0.528, 2:6 0.651, 2:4 0.646; 25 % unstructured 0.811.
    """
    if match := _N_OF_M.fullmatch(pattern):
        n, m = int(match[1]), int(match[2])
        return math.log2(math.comb(m, n)) / m
    return entropy(sparsity)


def hardware_bits(pattern: str) -> float:
    """Metadata of 2:4 in NVIDIA's sparse tensor cores: 2 bits per kept weight; nan for others."""
    return 1.0 if pattern == "2:4" else float("nan")


def group_bits(group_size: float, bits: float, zero_point: str = "none") -> float:
    """Scales and zero points per weight: 0.125 at group 128 with a 16-bit scale.

    Args:
        group_size: weights that share a scale.
        bits: q, the width of a packed zero point.
        zero_point: "none" (symmetric), "packed" (q bits) or "float" (16 bits).

    Raises:
        ValueError: another kind of zero point, or no group.
    """
    widths = {"none": 0.0, "packed": bits, "float": 16.0}
    if zero_point not in widths or not group_size > 0:
        raise ValueError(
            f"zero_point={zero_point!r} (valid: {', '.join(widths)}), "
            f"group_size={group_size} (valid: above 0)"
        )
    return (16 + widths[zero_point]) / group_size


def effective_bits(bits: float, sparsity: float, mask: float, group: float) -> float:
    """The sum q (1 - s) + mask + group: codes of the kept weights, mask, scales and zero points.

    With a bitmask the break-even against plain quantization is at s = 1/q: exactly
    25 % + 4 bit and 33.333 % + 3 bit.
    """
    return bits * (1 - sparsity) + mask + group


def whole_bytes(bits: ArrayLike, linear_weights: ArrayLike, total_weights: ArrayLike) -> Array:
    """Bytes of a model whose linear weights take `bits` each and whose rest stays at 16 bit."""
    linear, total = np.asarray(linear_weights, dtype=float), np.asarray(total_weights, dtype=float)
    return np.asarray((np.asarray(bits) * linear + DENSE_BITS * (total - linear)) / 8)


@lru_cache(maxsize=256)
def code_entropy(bits: float, sparsity: float, group_size: float = 128) -> float:
    """Order-0 entropy of the stored symbols in bits per weight, zeros of pruning among them.

    A bound for any code of single symbols, mask included, for every cell alike; scales are
    not in it. Weights are taken as Gaussian and pruned by magnitude; quantized ones as codes
    of a symmetric grid scaled to the largest of each group (4 bit 3.48, 25 % + 4 bit 3.40,
    3 bit 2.41 at group 128), others as bfloat16.

    Args:
        bits: q; 16 is bfloat16.
        sparsity: fraction of zeros.
        group_size: weights that share a scale.
    """
    cut = _quantile(sparsity)
    share = _bfloat16(cut) if bits >= DENSE_BITS else _codes(int(bits), cut, group_size)
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def _quantile(sparsity: float) -> float:
    """The magnitude below which a share `sparsity` of standard normal weights lies."""
    from scipy.special import ndtri

    return float(ndtri((1 + sparsity) / 2))


def _codes(bits: int, cut: float, group_size: float) -> Array:
    """Shares of the codes, averaged over the distribution of a group's largest magnitude."""
    from scipy.special import ndtr, ndtri

    half = (2**bits - 1) / 2
    uniform = (np.arange(_NODES) + 0.5) / _NODES
    largest = ndtri((1 + uniform ** (1 / group_size)) / 2)  # the maximum has F^n = uniform
    codes = np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))
    edges = (codes[:-1] + 0.5)[:, None] * (largest / half)
    # The others of the group are normal within +-largest; the largest is at one of the ends.
    inside = np.vstack(
        [0 * largest, (ndtr(edges) - ndtr(-largest)) / (2 * ndtr(largest) - 1), 0 * largest + 1]
    )
    share = (group_size - 1) / group_size * np.diff(inside, axis=0).mean(axis=1)
    share[[0, -1]] += 0.5 / group_size
    return _pruned(share, codes, edges, largest, cut, (group_size - 1) / group_size)


def _pruned(
    share: Array, codes: Array, edges: Array, largest: Array, cut: float, others: float
) -> Array:
    """Moves what is pruned into code 0, from whichever codes it would have had."""
    from scipy.special import ndtr

    if cut <= 0:
        return share
    norm = 2 * ndtr(largest) - 1
    low = np.vstack([-largest, edges])
    high = np.vstack([edges, largest])
    gone = np.clip(ndtr(np.minimum(high, cut)) - ndtr(np.maximum(low, -cut)), 0, None) / norm
    gone = others * gone.mean(axis=1)
    share = share - gone
    share[codes == 0] += gone.sum()
    return share


def _bfloat16(cut: float) -> Array:
    """Shares of the bfloat16 numbers of a standard normal; pruned ones are one symbol, 0."""
    from scipy.special import ndtr

    steps = (2.0 ** np.arange(-40, 4))[:, None] * (1 + np.arange(128) / 128)
    grid = np.concatenate([[0.0], steps.ravel(), [np.inf]])
    mass = np.diff(ndtr(np.maximum(grid, cut)))
    return np.concatenate([mass, mass, [max(0.0, 2 * ndtr(cut) - 1)]])
