"""Coverage of the intervals of retentions and of their differences, by simulation.

    python benchmarks/intervals.py [--runs 2000]

Three cells (dense, two others) answer the same n documents right or wrong, independently or with
most of the skill in the documents. For every pair of rates from .01 to .99 the interval of the
difference of the two retentions, and of each by itself, by the code that reports use.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy import stats

from analysis.data.score_limits import limits
from analysis.statistics.mover import ratios

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99)
SIZES = (20, 50, 100, 200, 500, 1000)
DENSE = (0.3, 0.7, 0.99)


def answers(
    rng: np.random.Generator, levels: tuple[float, ...], n: int, runs: int, alike: float
) -> np.ndarray:
    """(runs, cells, n) right or wrong."""
    common, own = rng.normal(size=(runs, 1, n)), rng.normal(size=(runs, len(levels), n))
    hard = np.sqrt(alike) * common + np.sqrt(1 - alike) * own
    return hard < stats.norm.ppf(np.array(levels))[:, None]


def correlations(right: np.ndarray) -> np.ndarray:
    """(runs, cells, cells) by `Sample.covariance`, with half a document more."""
    n = right.shape[-1]
    centred = right - right.mean(-1, keepdims=True)
    matrix = np.einsum("rin,rjn->rij", centred, centred) / (n * (n - 1))
    own = np.einsum("rii->ri", matrix)
    size = np.sqrt(np.where(own > 0, own + 0.5 / n**2, 1.0))
    found = matrix / size[:, :, None] / size[:, None, :]
    index = np.arange(found.shape[1])
    found[:, index, index] = 1.0
    return found


def coverage(right: np.ndarray, levels: tuple[float, ...]) -> tuple[float, float]:
    """Shares of runs in which the difference, and the first retention, are in their intervals."""
    dense, one, two = levels
    n = right.shape[-1]
    score, spread = right.mean(-1), correlations(right)
    stderr = np.sqrt(score * (1 - score) / (n - 1))
    low, high = limits(score, stderr, np.full(score.shape, float(n)), np.ones(score.shape, bool))
    hits = []
    for top, truth in (((1, -1, 0), (one - two) / dense), ((1, 0, 0), one / dense)):
        last = [1, 2, 0]  # the dense model is the denominator
        ends = ratios(
            score[:, None, last],
            low[:, None, last],
            high[:, None, last],
            spread[:, last][:, :, last][:, None],
            np.tile(np.array(top, float), (len(score), 1)),
        )
        known = score[:, 0] > 0  # nothing is retained of a dense model that got nothing right
        inside = (ends[0] <= truth + 1e-12) & (truth - 1e-12 <= ends[1])
        hits.append(float(inside[known].mean()))
    return hits[0], hits[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    runs, start = parser.parse_args().runs, time.process_time()
    rng = np.random.default_rng(20250507)
    print("| n | least, difference | at | least, retention | at | settings | mean |")
    for n in SIZES:
        found = []
        for dense in DENSE:
            for one in RATES:
                for two in RATES:
                    if two > one or one > dense:
                        continue
                    for alike in (0.0, 0.9):
                        levels = (dense, one, two)
                        right = answers(rng, levels, n, runs, alike)
                        found.append((*coverage(right, levels), (*levels, alike)))
        least = min(found), min(found, key=lambda f: f[1])
        mean = np.mean([f[:2] for f in found])
        print(
            f"| {n} | {least[0][0]:.3f} | {least[0][2]} | {least[1][1]:.3f} | {least[1][2]} | "
            f"{len(found)} | {mean:.3f} |",
            flush=True,
        )
    print(f"{runs} runs each, {time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    main()
