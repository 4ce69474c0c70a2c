"""Verdicts about methods, not about checkpoints: calibration as a second source of variance.

Another calibration sample gives another checkpoint of the same method. Over k seeds the mean
difference d of two methods has the variance s^2 / k + v: s^2 is what the seeds show, the
noise of documents that differs from seed to seed included, and v is the covariance over
documents of two different seeds, which no number of seeds can average away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats

from analysis.comparison.verdicts import ALPHA, holm, verdicts
from analysis.data.panel import Panel
from analysis.metrics import Array, Definition
from analysis.output.table import Column, Table
from analysis.output.text import NAMES, percent, plus_minus
from analysis.statistics.intervals import MARGIN, Interval, normal, sr_covariance, tost

FEWEST_SEEDS = 3
_METHOD = ("prune_method", "sparsity", "pattern", "quant_method", "bits", "mask", "label")


@dataclass(frozen=True, kw_only=True)
class Method:
    """The cells that differ in their calibration seed alone.

    Attributes:
        label: what the cells are called.
        rows: seed -> row of the panel; the seed is nan for a method that needs none.
    """

    label: str
    rows: dict[float, int]

    def row(self, seed: float) -> int | None:
        """The cell of a seed; of a method without calibration its only cell."""
        free = [row for own, row in self.rows.items() if own != own]
        return free[0] if free else self.rows.get(seed)


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over calibration seeds with both variances.

    Attributes:
        value: the mean.
        stderr: from documents and calibration together.
        df: degrees of freedom (Satterthwaite 1946): few seeds make them few.
        calibration: standard deviation from seed to seed.
        seeds: how many.
    """

    value: float
    stderr: float
    df: float
    calibration: float
    seeds: int

    @property
    def interval(self) -> Interval:
        """At 95 %."""
        return normal(self.value, self.stderr, df=self.df)


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One method against another over the seeds that both have."""

    first: Method
    second: Method
    mean: Mean
    p: float

    @property
    def decided(self) -> bool:
        """Whether the difference holds for the methods, at the family's 5 %."""
        return self.p <= ALPHA


def methods(panel: Panel, rows: Sequence[int]) -> list[Method]:
    """The methods among some rows of a panel, in the order of their first cell."""
    found: dict[tuple[object, ...], dict[float, int]] = {}
    seeds = panel.cells["calibration_seed"].to_numpy(dtype=float)
    columns = [panel.cells[name].to_numpy(dtype=object) for name in _METHOD]
    for row in rows:
        key = tuple(column[row] for column in columns)
        found.setdefault(key, {})[float(seeds[row])] = row
    return [Method(label=str(key[-1]), rows=cells) for key, cells in found.items()]


def mean(panel: Panel, by: Definition, plus: Sequence[int], minus: Sequence[int] = ()) -> Mean:
    """The mean over seeds of Sr of `plus`, or of its difference to `minus`, seed by seed.

    Args:
        panel: the scores.
        by: the definition of Sr.
        plus: one row per seed, at least two.
        minus: one row per seed in the same order, the same row for a method without
            calibration; empty for the mean of `plus` itself.
    """
    rows, k = [*plus, *minus], len(plus)
    value = (panel.sr1() if by == "sr1" else panel.sr2()).value[np.asarray(rows)]
    signs = np.hstack([np.eye(k)] + ([-np.eye(k)] if len(minus) else []))
    each = signs @ value
    over = signs @ sr_covariance(panel, rows, by) @ signs.T
    calibrated = float(each.var(ddof=1)) / k
    shared = _shared(panel, rows, over)
    variance = calibrated + shared
    df = np.inf if calibrated == 0 else variance**2 / (calibrated**2 / (k - 1))
    return Mean(value=float(each.mean()), stderr=float(np.sqrt(variance)), df=float(df),
                calibration=float(each.std(ddof=1)), seeds=k)  # fmt: skip


def _shared(panel: Panel, rows: Sequence[int], over: Array) -> float:
    """Covariance over documents of two different seeds.

    Without documents it is unknown, but at most the variance of a single seed: that is taken.
    """
    k = len(over)
    if all(panel.paired(rows[0], row) for row in rows[1:]):
        return max(float((over.sum() - np.trace(over)) / (k * (k - 1))), 0.0)
    return float(np.trace(over) / k)


@lru_cache(maxsize=8)  # the verdicts and the table ask; a panel never changes
def contrasts(panel: Panel, by: Definition = "sr2") -> dict[Fraction, list[Contrast]]:
    """Per TCr every pair of methods with three seeds in common, Holm-corrected per TCr."""
    found: dict[Fraction, list[Contrast]] = {}
    if panel.cells["calibration_seed"].nunique() < FEWEST_SEEDS:
        return found
    for verdict in verdicts(panel, by):
        pairs = _pairs(panel, methods(panel, sorted(verdict.ranked)), by)
        p = holm(np.array([2 * stats.t.sf(abs(m.value / m.stderr) if m.stderr else np.inf, m.df)
                           for _, _, m in pairs]))  # fmt: skip
        made = [Contrast(first=a, second=b, mean=m, p=float(p[i]))
                for i, (a, b, m) in enumerate(pairs)]  # fmt: skip
        if made and verdict.tcr is not None:
            found[verdict.tcr] = sorted(made, key=lambda one: -one.mean.value)
    return found


def _pairs(
    panel: Panel, every: Sequence[Method], by: Definition
) -> list[tuple[Method, Method, Mean]]:
    """Pairs with the better method first."""
    pairs = []
    for i, one in enumerate(every):
        for two in every[i + 1 :]:
            seeds = _common(one, two)
            if len(seeds) < FEWEST_SEEDS:
                continue
            plus, minus = (_rows(m, seeds) for m in (one, two))
            found = mean(panel, by, plus, minus)
            pairs.append((one, two, found) if found.value >= 0
                         else (two, one, replace(found, value=-found.value)))  # fmt: skip
    return pairs


def _rows(method: Method, seeds: Sequence[float]) -> list[int]:
    return [row for seed in seeds if (row := method.row(seed)) is not None]


def _common(one: Method, two: Method) -> list[float]:
    seeds = sorted(seed for method in (one, two) for seed in method.rows if seed == seed)
    return sorted({s for s in seeds if one.row(s) is not None and two.row(s) is not None})


def sentence(rate: Fraction, contrast: Contrast) -> str:
    """A verdict about two methods, with what it rests on."""
    found, ends = contrast.mean, contrast.mean.interval
    at = f"At {percent(rate)} TCr, over {found.seeds} calibration seeds"
    said = (f"{at}, {contrast.first.label} keeps {plus_minus(found.value, found.stderr)} more than "
            f"{contrast.second.label} (95 % {ends.low:.3f} to {ends.high:.3f}, documents and "
            f"calibration together; {found.calibration:.3f} from seed to seed)")  # fmt: skip
    if contrast.decided:
        return f"{said}: the method is better, not only these checkpoints."
    if tost(found.value, found.stderr, df=found.df) <= ALPHA:
        return f"{said}: the methods differ by less than {MARGIN:g}."
    return f"{said}: undecided for the methods."


def methods_table(panels: Sequence[Panel], by: Definition = "sr2") -> Table:
    """Every pair of methods with enough seeds, at equal TCr."""
    rows = [
        {"model": panel.model, "tcr": float(rate), "first": c.first.label,
         "second": c.second.label, "seeds": c.mean.seeds, "difference": c.mean.value,
         "difference_stderr": c.mean.stderr, "calibration": c.mean.calibration,
         "low": c.mean.interval.low, "high": c.mean.interval.high, "df": c.mean.df, "p": c.p,
         "verdict": "better" if c.decided else "undecided"}
        for panel in panels for rate, found in contrasts(panel, by).items() for c in found
    ]  # fmt: skip
    columns = (
        Column(key="model", title="Model"), Column(key="tcr", title="TCr", form="percent"),
        Column(key="first", title="Method"), Column(key="second", title="against"),
        Column(key="seeds", title="Seeds", form="number", digits=0),
        Column(key="difference", title=f"Difference in {NAMES[by]}", form="estimate"),
        Column(key="low", title="95 % from", form="number"),
        Column(key="high", title="to", form="number"),
        Column(key="calibration", title="Seed to seed", form="number"),
        Column(key="p", title="p (Holm)", form="p"), Column(key="verdict", title="Verdict"),
    )  # fmt: skip
    notes = ("Standard errors are over documents and calibration samples together: variance over "
             "seeds / seeds + covariance over documents of different seeds; t with Satterthwaite's "
             "degrees of freedom. Family: all pairs of methods of one model at one TCr.",
             )  # fmt: skip
    return Table(name=f"methods_{by}", caption=f"Methods at equal TCr, by {NAMES[by]}",
                 columns=columns, rows=pd.DataFrame(rows), notes=notes,
                 definition=by)  # fmt: skip
