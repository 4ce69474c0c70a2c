"""The claims of docs/findings.md: what was registered, and the analysis of the sweeps that test it.

    python benchmarks/claims.py                   # what so many seeds and documents can detect
    python benchmarks/claims.py claim_mix ...     # the table of each claim from finished sweeps

A contrast is the mean over calibration seeds of the difference in Sr2, by documents and seeds
together (`analysis.comparison.seed_variance`), the seeds' variance pooled over the methods of the
claim. The contrasts of one claim on one base are one family, corrected by Holm.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.comparison.seed_variance import Mean, Method, mean, methods
from analysis.data.panel import Panel, panels
from analysis.data.task_groups import pooled as pooled_tasks
from analysis.statistics.holm import holm
from analysis.statistics.intervals import MARGIN, tost
from analysis.statistics.pooled_variance import detectable, p_value, pooled
from sweeper.planning.sweep import Sweep
from sweeper.results import sources
from sweeper.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One registered comparison: the first is claimed to keep more than the second.

    Attributes:
        first, second: labels without their seed.
        alone: of an order, the two compressions alone; the claim is turned round where the second
            of them keeps more (the weaker compression is then the second).
    """

    first: str
    second: str
    alone: tuple[str, str] | None = None


def _orders() -> Iterator[Contrast]:
    for sparsity in ("25%", "50%"):
        for bits in (8, 4):
            pruned, quantized = f"wanda {sparsity}", f"{bits}bit"
            yield Contrast(
                first=f"{pruned} + {quantized}",
                second=f"{quantized} + {pruned}",
                alone=(pruned, quantized),
            )


CLAIMS: Mapping[str, Sequence[Contrast]] = {
    "claim_mix": (
        Contrast(first="25% + 4bit", second="3bit"),
        Contrast(first="4bit", second="25% + 4bit"),
        Contrast(first="2:8", second="1:4"),
        Contrast(first="2:8 + 4bit", second="1:4 + 4bit"),
    ),
    "claim_allocation": (
        Contrast(first="50% (allocated)", second="50%"),
        Contrast(first="3bit (allocated)", second="3bit"),
    ),
    "claim_order": tuple(_orders()),
    "claim_outlier": (
        Contrast(first="3bit (rotated)", second="3bit"),
        Contrast(first="3bit (allocated) (rotated)", second="3bit (allocated)"),
    ),
}

# Assumed beforehand, as shares: of documents on which two checkpoints differ, the dense model's
# accuracy, the correlation over documents of two seeds' differences, and the standard deviation of
# a difference in Sr2 from seed to seed (docs/methods.md, "Joint or in sequence").
DIFFER, DENSE, ALIKE, SEEDS_SD = 0.2, 0.45, 0.5, 0.017
TASKS = {"arc_easy": 1000, "piqa": 1000, "hellaswag": 1000, "lambada_openai": 1000}
SEEDS, DF = 3, 4.0


def main() -> None:
    """Print the tables that were asked for."""
    names = sys.argv[1:]
    if wrong := [name for name in names if name not in CLAIMS]:
        sys.exit(f"no such claim: {', '.join(wrong)}; valid: {', '.join(CLAIMS)}")
    if not names:
        print("\n".join(beforehand()))
    home = Path(os.environ.get("ISORATE_HOME", "outputs"))
    for name in names:
        found = sources.read("store", Sweep(home, name), Store(home))
        for panel in panels(pooled_tasks(found.results)):
            print("\n".join(table(panel, CLAIMS[name])))


def beforehand() -> Iterator[str]:
    """The difference in Sr2 that 80 % of such experiments decide, by claim."""
    accuracy = DIFFER * sum(1 / n for n in TASKS.values()) / len(TASKS) ** 2
    documents = ALIKE * accuracy / DENSE**2
    error = math.sqrt(SEEDS_SD**2 / SEEDS + documents)
    yield f"standard error of a contrast: {error:.4f}"
    for name, claim in CLAIMS.items():
        yield f"{name}: {len(claim)} contrasts, detects {detectable(error, DF, len(claim)):.3f}"


def table(panel: Panel, claim: Sequence[Contrast]) -> Iterator[str]:
    """Markdown: one row for each contrast of the claim on one base."""
    done = [r for r in range(len(panel.cells)) if panel.cells["status"].iat[r] == "done"]
    known = {method.label: method for method in methods(panel, done)}
    turned = [_turned(panel, known, each) for each in claim]
    made = [_mean(panel, known, turned, each) for each in turned]
    p = holm(np.array([p_value(m.value, m.stderr, m.df) if m else np.nan for m in made]))
    yield f"| {panel.model} | difference in Sr2 | 95 % | p (Holm) | detects | verdict |"
    yield "|---|---|---|---|---|---|"
    for each, found, corrected in zip(turned, made, p, strict=True):
        name = f"{each.first} above {each.second}"
        if found is None:
            yield f"| {name} | no three seeds of both | | | | |"
            continue
        ends, limit = found.interval, detectable(found.stderr, found.df, len(claim))
        yield (
            f"| {name} | {found.value:+.3f} | {ends.low:+.3f} to {ends.high:+.3f} | "
            f"{corrected:.3f} | {limit:.3f} | {verdict(found, float(corrected))} |"
        )


def verdict(found: Mean, p: float) -> str:
    """Holds, the contrary, less than the margin, or undecided."""
    if p <= 0.05:
        return "holds" if found.value > 0 else "the contrary holds"
    if float(tost(found.value, found.stderr, df=found.df)) <= 0.05:
        return f"they differ by less than {MARGIN:g}"
    return "undecided"


def _rows(method: Method | None) -> list[int]:
    """One row for each of the registered seeds; of a method without calibration the same row."""
    if method is None:
        return []
    found = [method.row(float(seed)) for seed in range(SEEDS)]
    return [row for row in found if row is not None]


def _turned(panel: Panel, known: Mapping[str, Method], each: Contrast) -> Contrast:
    if each.alone is None:
        return each
    rows = [_rows(known.get(label)) for label in each.alone]
    if not all(rows):
        return each
    first, second = (float(panel.sr2().value[own].mean()) for own in rows)
    if first >= second:
        return each
    return Contrast(first=each.second, second=each.first, alone=each.alone)


def _mean(
    panel: Panel, known: Mapping[str, Method], claim: Sequence[Contrast], each: Contrast
) -> Mean | None:
    plus, minus = (_rows(known.get(label)) for label in (each.first, each.second))
    if len(plus) < SEEDS or len(minus) < SEEDS:
        return None
    labels = {label for one in claim for label in (one.first, one.second)}
    company = [rows for label in sorted(labels) if len(rows := _rows(known.get(label))) == SEEDS]
    return mean(panel, "sr2", plus, minus, pooled(panel.sr2().value[np.array(company)]))


if __name__ == "__main__":
    main()
