"""Joint against sequential compression, both refined, paired by seed and by document.

    isorate run experiment=joint_vs_sequential
    python benchmarks/joint_vs_sequential.py [--power]

Prints the comparisons that were written down before the run (docs/methods.md), with the p values of
their perplexities corrected for their number (Holm), then every other pair of a mix as it is. A
perplexity is a ratio, the mean accuracy of the multiple-choice tasks a difference. Errors hold two
parts: from seed to seed, and over documents, which no seed averages away; the degrees of freedom
are Satterthwaite's. With ``--power``: what five seeds can decide, and nothing is read.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

PERPLEXITY, METRIC = "demo_pydoc", "word_perplexity"
ACCURACIES = ("demo_agreement", "demo_categories", "demo_endings", "demo_opposites")
FAMILY = (
    ("25% + joint 4bit, refined", "25% + 4bit, refined"),
    ("2:8 + joint 4bit, refined", "2:8 + 4bit, refined"),
    ("25% + joint 4bit, refined with swaps", "25% + 4bit, refined"),
    ("2:8 + joint 4bit, refined with swaps", "2:8 + 4bit, refined"),
    ("25% + 4bit, refined", "3bit, refined"),
    ("25% + 4bit, refined", "4bit, refined"),
    ("25% + 4bit, refined", "25% + 4bit"),
)
ALPHA, POWER, SEEDS = 0.05, 0.8, 5


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A paired difference: its mean, standard error, degrees of freedom and seeds."""

    mean: float
    stderr: float
    df: float
    seeds: int

    @property
    def interval(self) -> tuple[float, float, float]:
        """The mean and its 95 % interval."""
        half = stats.t.ppf(1 - ALPHA / 2, self.df) * self.stderr
        return self.mean, self.mean - half, self.mean + half

    @property
    def p(self) -> float:
        """Of no difference, two-sided."""
        return float(2 * stats.t.sf(abs(self.mean) / self.stderr, self.df))


def both_variances(by_seed: np.ndarray, influence: np.ndarray) -> Compared:
    """Differences [seeds] and what each document adds to each, [seeds, documents]."""
    seeds, documents = influence.shape
    # the mean over the seeds of what a document adds: seeds share the documents
    over_documents = influence.mean(axis=0).var(ddof=1) / documents
    over_seeds = by_seed.var(ddof=1) / seeds if seeds > 1 else 0.0
    whole = over_seeds + over_documents
    parts = over_documents**2 / (documents - 1)
    parts += over_seeds**2 / (seeds - 1) if seeds > 1 else 0.0
    return Compared(
        mean=float(by_seed.mean()),
        stderr=float(np.sqrt(whole)),
        df=float(whole**2 / parts) if parts else np.inf,
        seeds=seeds,
    )


Cells = Mapping[str, Mapping[int, str]]
"""Label without its seed -> seed -> key of the cell."""


def cells_of(results: Any) -> Cells:
    found: dict[str, dict[int, str]] = {}
    for row in results.cells[results.cells["status"] == "done"].to_dict("records"):
        seed = row["calibration_seed"]
        if np.isfinite(seed):
            found.setdefault(row["label"].partition(" [")[0], {})[int(seed)] = row["cell"]
    return found


def perplexity(results: Any, over: Mapping[int, str], under: Mapping[int, str]) -> Compared | None:
    """Of log perplexity; None where they share no seed or not the same documents."""
    differences, influences = [], []
    for seed in sorted(set(over) & set(under)):
        one, two = (results.documents.scored(c[seed], PERPLEXITY, METRIC) for c in (over, under))
        if one is None or two is None or one.identity != two.identity:
            return None
        lost = two.numerator - one.numerator
        differences.append(lost.sum() / one.weight.sum())
        influences.append((lost - differences[-1] * one.weight) / one.weight.mean())
    return both_variances(np.array(differences), np.array(influences)) if differences else None


def accuracy(results: Any, over: Mapping[int, str], under: Mapping[int, str]) -> Compared | None:
    """Of the mean accuracy of the choice tasks, each task weighing the same."""
    differences, influences = [], []
    for seed in sorted(set(over) & set(under)):
        found = []
        for task in ACCURACIES:
            one, two = (results.documents.scored(c[seed], task, "acc") for c in (over, under))
            if one is None or two is None or one.identity != two.identity:
                return None
            found.append(one.numerator - two.numerator)
        count = sum(len(each) for each in found)
        differences.append(np.mean([each.mean() for each in found]))
        share = [(e - e.mean()) * count / (len(e) * len(found)) for e in found]
        influences.append(np.concatenate(share))
    return both_variances(np.array(differences), np.array(influences)) if differences else None


def lines(results: Any) -> Iterator[str]:
    """The family with corrected p values, then all other pairs of a mix."""
    cells = cells_of(results)
    family = {
        pair: perplexity(results, cells[pair[0]], cells[pair[1]])
        for pair in FAMILY
        if set(pair) <= cells.keys()
    }
    known = {pair: found for pair, found in family.items() if found is not None}
    for (pair, found), p in zip(known.items(), holm([f.p for f in known.values()]), strict=True):
        yield f"{_line(results, cells, pair, found)}; Holm p = {p:.2g} of {len(known)}"
    yield from (f"missing: {' / '.join(pair)}" for pair in FAMILY if pair not in known)
    for mix in sorted({_mix(label) for label in cells}):
        for pair in combinations(sorted(c for c in cells if _mix(c) == mix), 2):
            if pair in known or pair[::-1] in known:
                continue
            found = perplexity(results, cells[pair[0]], cells[pair[1]])
            if found is not None:
                yield f"{_line(results, cells, pair, found)}; descriptive"


def _mix(label: str) -> str:
    """'25% + 4bit' of all that has 25 % zeros and 4 bit."""
    plain = label.partition(", ")[0].partition(" (")[0]
    return plain.replace("joint ", "")


def _line(results: Any, cells: Cells, pair: tuple[str, str], found: Compared) -> str:
    ratio = " [{:.3f}, {:.3f}]".format(*np.exp(found.interval[1:]))
    said = f"{pair[0]} / {pair[1]}: perplexity x {np.exp(found.mean):.3f}{ratio}"
    right = accuracy(results, cells[pair[0]], cells[pair[1]])
    if right is not None:
        said += "; accuracy {:+.3f} [{:+.3f}, {:+.3f}]".format(*right.interval)
    return f"{said}; {found.seeds} seeds"


def holm(p: list[float]) -> list[float]:
    """P values corrected for their number (Holm, 1979)."""
    found, most = [0.0] * len(p), 0.0
    for rank, i in enumerate(np.argsort(p)):
        most = max(most, min(1.0, (len(p) - rank) * p[i]))
        found[i] = most
    return found


def detectable(spread: float, alpha: float = ALPHA, seeds: int = SEEDS) -> float:
    """The difference that so many seeds find with 80 % power.

    Args:
        spread: standard deviation of a paired difference from seed to seed.
        alpha: two-sided.
        seeds: how many.
    """
    df, scale = seeds - 1, spread / np.sqrt(seeds)
    bound = stats.t.ppf(1 - alpha / 2, df)
    low, high = 0.0, 100 * spread
    for _ in range(80):
        shift = (low + high) / 2
        found = 1 - stats.nct.cdf(bound, df, shift / scale)
        low, high = (shift, high) if found < POWER else (low, shift)
    return float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=os.environ.get("ISORATE_HOME", "outputs"))
    parser.add_argument("--name", default="joint_vs_sequential", help="of the sweep")
    parser.add_argument("--power", action="store_true")
    given = parser.parse_args()
    if given.power:
        for spread in (0.01, 0.02, 0.036):
            alone, first = (detectable(spread, a) for a in (ALPHA, ALPHA / len(FAMILY)))
            print(f"spread {spread}: {alone:.3f} alone, {first:.3f} as the first of {len(FAMILY)}")
        return
    from sweeper.planning.sweep import Sweep
    from sweeper.results import tables
    from sweeper.results.outcomes import collect
    from sweeper.store.store import Store

    home = Path(given.home)
    outcomes = collect(Sweep(home, given.name).load(), Store(home))
    for line in lines(tables.results(outcomes)):
        print(line)


if __name__ == "__main__":
    main()
