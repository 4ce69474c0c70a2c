"""The formulas: compression rate, retention and SrCr, each with its standard error.

"Eq." is the equation in Laborde et al., "Semantic Retention and Extreme
Compression in LLMs: Can We Have Both?" (arXiv:2505.07289). Standard errors are
first order (delta method) and take tasks as independent; the dense model's own
uncertainty is shared by every cell and counted once. All functions broadcast;
tasks are the last axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = Sequence[int] | NDArray[np.int_]

DENSE_BITS = 16
_Z95 = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value and its standard error, same unit and shape; nan where undefined."""

    value: Array
    stderr: Array


def unbounded() -> np.errstate:
    """For what is computed of collapsed models, whose perplexities have no finite square.

    The result is inf or nan there, which every table shows as a gap; nothing is to be printed.
    """
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


def exact(number: float) -> Fraction:
    """The short fraction that a float means: 1/3 for 0.333..., 1/4 for 0.25.

    Raises:
        ValueError: if the number is not finite.
    """
    if not np.isfinite(number):
        raise ValueError(f"{number} is no rate")
    return Fraction(float(number)).limit_denominator(10_000)


def tcr(sparsity: float, bits: float) -> Fraction:
    """Theoretical compression rate, eq. 1: 1 - q/16 (1 - p), exact.

    Args:
        sparsity: p, the fraction of weights that are zero, 0 <= p < 1.
        bits: q, bits per remaining weight, 0 < q <= 16.

    Returns:
        The rate as a fraction of 1, so that equal rates compare equal:
        25 % + 4 bit and 3 bit are both 13/16.

    Raises:
        ValueError: outside these ranges.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity {sparsity} is no fraction from 0 to below 1")
    if not 0 < bits <= DENSE_BITS:
        raise ValueError(f"{bits} bits: valid is above 0 and up to {DENSE_BITS}")
    return 1 - exact(bits) / DENSE_BITS * (1 - exact(sparsity))


def achieved_tcr(achieved_sparsity: ArrayLike, bits: ArrayLike) -> Array:
    """Eq. 1 with the share of weights that really are zero in the checkpoint.

    It falls short of `tcr` where quantization ignored the mask and refilled zeros.
    """
    return 1 - _array(bits) / DENSE_BITS * (1 - _array(achieved_sparsity))


def wilson_stderr(value: ArrayLike, n: ArrayLike) -> Array:
    """Standard error of a proportion that stays honest at 0 and 1.

    The binomial formula gives 0 for a score of 0 of n; here z^2 = 3.84 documents are
    added, half of them right (the centre of Wilson's 95 % interval).

    Args:
        value: the proportion, 0..1.
        n: the number of documents.
    """
    documents = _array(n) + _Z95**2
    centre = (_array(value) * _array(n) + _Z95**2 / 2) / documents
    return np.sqrt(centre * (1 - centre) / documents)


def retention(
    compressed: ArrayLike,
    compressed_stderr: ArrayLike,
    dense: ArrayLike,
    dense_stderr: ArrayLike,
    *,
    higher_is_better: ArrayLike = True,
    same: ArrayLike = False,
    covariance: ArrayLike = 0.0,
) -> Estimate:
    """Retention of a task, eq. 10: R_t = P_c / P_o; P_o / P_c where lower is better.

    se = sqrt(s_num^2 + R^2 s_den^2 - 2 R s_co) / P_den, which holds for a score of 0 too.

    Args:
        compressed: P_c; any unit that has a true zero.
        compressed_stderr: its standard error.
        dense: P_o, the same unit.
        dense_stderr: its standard error.
        higher_is_better: false for perplexities.
        same: the cell is the baseline itself: exactly 1 +- 0, for the two scores are
            one measurement.
        covariance: s_co, of the two scores; 0 where they share no documents.

    Returns:
        R_t; nan where the denominator is not above 0.
    """
    up = np.asarray(higher_is_better, dtype=bool)
    top, top_se = np.where(up, compressed, dense), np.where(up, compressed_stderr, dense_stderr)
    low, low_se = np.where(up, dense, compressed), np.where(up, dense_stderr, compressed_stderr)
    low = np.where(_array(low) > 0, low, np.nan)
    with unbounded():
        ratio = top / low
        variance = top_se**2 + ratio**2 * low_se**2 - 2 * ratio * _array(covariance)
        stderr = np.sqrt(np.maximum(variance, 0)) / low
    itself = np.asarray(same, dtype=bool) & np.isfinite(ratio)
    return Estimate(value=np.where(itself, 1.0, ratio), stderr=np.where(itself, 0.0, stderr))


def sr1(retentions: Estimate) -> Estimate:
    """Semantic retention, eq. 11: the mean of R_t over the tasks (last axis).

    A task without a retention makes the mean nan: a mean over other tasks than the
    neighbour's would be another quantity.
    """
    tasks = retentions.value.shape[-1]
    if tasks == 0:
        return _nothing(retentions.value.shape[:-1])
    stderr = np.sqrt((retentions.stderr**2).sum(axis=-1)) / tasks
    return Estimate(value=retentions.value.mean(axis=-1), stderr=stderr)


def sr2(
    compressed: ArrayLike,
    compressed_stderr: ArrayLike,
    dense: ArrayLike,
    dense_stderr: ArrayLike,
    *,
    same: ArrayLike = False,
    covariance: ArrayLike = 0.0,
) -> Estimate:
    """Semantic retention, eq. 12 (the paper's Sr): sum P_c / sum P_o over tasks.

    var = sum s_c^2 / (sum P_o)^2 + (sum P_c)^2 sum s_o^2 / (sum P_o)^4, and less where a cell
    and the baseline share documents: `covariance` is the sum of s_co over the tasks.

    Give it scores where higher is better only: a perplexity in the sums would count a
    worse model as a better one.
    """
    total, total_se = _array(compressed).sum(axis=-1), _quadrature(compressed_stderr)
    base, base_se = _array(dense).sum(axis=-1), _quadrature(dense_stderr)
    if _array(compressed).shape[-1] == 0:
        return _nothing(np.shape(total))
    return retention(total, total_se, base, base_se, same=same, covariance=covariance)


def weight_p(sparsity: ArrayLike) -> Array:
    """The pruning weight of eq. 13: sqrt(p)."""
    return np.sqrt(_array(sparsity))


def weight_q(bits: ArrayLike) -> Array:
    """The quantization weight of eq. 14: -log2(q/16) / 4; .25, .5, .604, .75 at 8, 4, 3, 2 bit."""
    return -np.log2(_array(bits) / DENSE_BITS) / 4


def weight_j(sparsity: ArrayLike, bits: ArrayLike) -> Array:
    """The joint weight of eq. 15: 0 unless a cell is both pruned and quantized."""
    return weight_p(sparsity) * weight_q(bits)


def scaled(weight: ArrayLike, sr: Estimate) -> Estimate:
    """SrCr = weight * Sr: eq. 13 with `weight_p`, eq. 14 with `weight_q`, eq. 15 with `weight_j`.

    The three have different scales (3 bit: 0.37; 25 % + 4 bit: 0.20), so they are three
    columns and never one ranking.
    """
    return Estimate(value=_array(weight) * sr.value, stderr=_array(weight) * sr.stderr)


def srcr_estimate(weight: ArrayLike, totals: ArrayLike, covariance: ArrayLike) -> Estimate:
    """SrCr_p * SrCr_q, the estimate of SrCr_j from the two single methods (fig. 6).

    The baseline divides twice, so f = w P Q / O^2 has the slopes w Q/O^2, w P/O^2 and
    -2 w P Q/O^3; the delta method takes them through the covariance of the three sums, which
    share the baseline and, where they are known, the documents.

    Args:
        weight: `weight_j` of the joint cell.
        totals: (3,) sums of scores over tasks: P, the pruned-only cell; Q, the quantized-only
            cell; O, the baseline.
        covariance: (3, 3) of these sums; diagonal where no documents are shared.
    """
    p, q, o = _array(totals)
    o = o if o > 0 else np.nan
    slope = _array(weight) / o**2 * np.array([q, p, -2 * p * q / o])
    variance = slope @ _array(covariance) @ slope
    return Estimate(value=_array(weight * p * q / o**2), stderr=np.sqrt(np.maximum(variance, 0)))


def _array(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)


def _quadrature(stderrs: ArrayLike) -> Array:
    return np.asarray(np.sqrt((_array(stderrs) ** 2).sum(axis=-1)))


def _nothing(shape: tuple[int, ...]) -> Estimate:
    return Estimate(value=np.full(shape, np.nan), stderr=np.full(shape, np.nan))


Definition = Literal["sr1", "sr2"]
