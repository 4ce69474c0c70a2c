"""Family-wise error and power of verdicts about methods, by simulation.

    python benchmarks/method_contrasts.py [--runs 10000]

Methods that are equally good under k calibration seeds: how often any pair is called different, by
the code that reports use. Seed effects are shared by all methods (the calibration sample is the
same), each method has its own noise from seed to seed, and documents add noise that no seed
averages away. The last column is the power against one method that is 0.06 better.
"""

from __future__ import annotations

import argparse
import time
from itertools import combinations

import numpy as np

from analysis.comparison.verdicts import ALPHA
from analysis.statistics.holm import holm
from analysis.statistics.pooled_variance import p_value, pooled, standard_error

SD = 0.02
SHARED = 0.01
SPREADS = {
    "equal": lambda m: np.full(m, SD),
    "one noisy": lambda m: np.r_[2 * SD, np.full(m - 1, SD / 4)],
    "half noisy": lambda m: np.r_[np.full(m // 2, 2 * SD), np.full(m - m // 2, SD / 4)],
    "graded": lambda m: 2 * SD * np.linspace(0.2, 1, m),
}


def draw(rng: np.random.Generator, spread: np.ndarray, seeds: int, documents: float) -> np.ndarray:
    """(methods, seeds) retentions of equally good methods."""
    common = rng.normal(0, SHARED, (1, seeds))
    own = rng.normal(0, 1, (len(spread), seeds)) * spread[:, None]
    return common + own + rng.normal(0, documents, (len(spread), 1))


def family(values: np.ndarray, documents: float) -> np.ndarray:
    """Holm-corrected p values of all pairs, as `contrasts` finds them."""
    company, raw = pooled(values), []
    for i, j in combinations(range(len(values)), 2):
        each = values[i] - values[j]
        variance = company.or_more(float(each.var(ddof=1)))
        stderr = standard_error(variance, values.shape[1], 2 * documents**2)
        raw.append(p_value(float(each.mean()), stderr, variance.df))
    return holm(np.array(raw))


def rate(runs: int, spread: np.ndarray, seeds: int, documents: float, shift: float = 0.0) -> float:
    """Share of runs with any verdict; with a shift, any that sets the first method apart."""
    rng, hits = np.random.default_rng(20250507), 0
    for _ in range(runs):
        values = draw(rng, spread, seeds, documents)
        values[0] += shift
        p = family(values, documents)
        hits += bool((p[: len(spread) - 1] if shift else p).min() <= ALPHA)
    return hits / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    runs, start = parser.parse_args().runs, time.process_time()
    print("| noise of methods | documents | methods | seeds | error | power at 0.06 |")
    worst = 0.0
    for name, spread in SPREADS.items():
        for documents in (0.0, 0.003):
            for methods in (2, 4, 6):
                for seeds in (3, 5):
                    error = rate(runs, spread(methods), seeds, documents)
                    power = rate(runs // 10, spread(methods), seeds, documents, shift=0.06)
                    worst = max(worst, error)
                    print(
                        f"| {name} | {documents} | {methods} | {seeds} | {error:.4f} | "
                        f"{power:.2f} |",
                        flush=True,
                    )
    print(f"worst {worst:.4f} of {runs} runs each, {time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    main()
