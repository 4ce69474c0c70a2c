"""Which of the cells at one compression rate keeps the most, and whether the data can tell.

Tests are two-sided z tests; all pairs of a group are one family, held at 5 % by Holm's
correction. Cells of one method, which differ in their calibration seed alone, are not ranked
against each other: that the best of them came out best is chance, see
`analysis.comparison.seed_variance`. Where the scores of single documents are known, differences
are paired document by document; elsewhere cells are taken as independent given the dense model,
which is
cautious rather than bold, because they do answer the same documents. Where a sweep grew after it
was looked at, the tests are those of `analysis.comparison.repeated_looks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.comparison.repeated_looks import Look, Told, always, equivalent, once, repeated
from analysis.comparison.summary import srcr_weight
from analysis.data import looks
from analysis.data.devices import across
from analysis.data.panel import Panel
from analysis.metrics import DENSE_BITS, Array, Definition, Rows, tcr, unbounded
from analysis.statistics.holm import holm
from analysis.statistics.intervals import (
    MARGIN,
    Interval,
    difference_stderr,
    sr_covariance,
    sr_intervals,
    tost,
)

ALPHA = 0.05
# A checkpoint whose achieved rate is this far below its nominal one is not at that rate; masks that
# are kept fall short by less, where matrices do not divide into whole groups.
SHORT_OF_RATE = 0.005


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The best cell of a group against another.

    Attributes:
        first: row of the better-scoring cell in the panel.
        second: row of the other.
        difference: how much more the first keeps.
        z: the difference in standard errors; nan where a standard error is missing.
        p: two-sided p value, corrected for the group's family.
        interval: of the difference at 95 %, for this pair alone, by MOVER.
        equivalent: p value that the two differ by less than `intervals.MARGIN`,
            corrected over the pairs shown here; nan for an SrCr, which has no such margin.
        paired: whether the test is document by document.
        look: of a sweep that grew, the look at which the verdict fell, from 1; else 0.
        across: the types of machine that the two met, if they met several.
    """

    first: int
    second: int
    difference: float
    z: float
    p: float
    interval: Interval
    equivalent: float
    paired: bool
    look: int = 0
    across: str = ""

    @property
    def decided(self) -> bool:
        """Whether the first is better at the family's 5 %."""
        return self.p <= ALPHA


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the data say about one group of cells.

    Attributes:
        model: the model they come from.
        tcr: their common rate; None for a group by kind (SrCr) or by size.
        by: the quantity compared: "sr1", "sr2", "srcr_p", "srcr_q" or "srcr_j".
        ranked: rows of the panel that could be compared, best value first.
        best: those of them that cannot be told from the best.
        own: those of the ranked that are the first one's method under other calibration seeds.
        pairs: the first of `ranked` against each one of another method.
        left_out: (row, why) of those that could not be compared.
        family: how many tests the correction covers.
        looks: how often the sweep was looked at; above 1, every p value and interval holds at all
            looks together.
        size: bytes of their files, if those are what they have in common.
        across: the types of machine that the ranked cells met, if they met several.
    """

    model: str
    tcr: Fraction | None
    by: str
    ranked: tuple[int, ...]
    best: tuple[int, ...]
    own: tuple[int, ...]
    pairs: tuple[Pair, ...]
    left_out: tuple[tuple[int, str], ...]
    family: int
    looks: int = 1
    size: float | None = None
    across: str = ""

    @property
    def decided(self) -> bool:
        """Whether one method alone is left that may be the best."""
        return len(self.ranked) > 1 and set(self.best) <= {self.ranked[0], *self.own}


def equal_tcr_groups(cells: pd.DataFrame) -> dict[Fraction, list[int]]:
    """Row positions by exact TCr, from the lowest rate to the highest."""
    groups: dict[Fraction, list[int]] = {}
    for row, (p, q) in enumerate(zip(cells["sparsity"], cells["bits"], strict=True)):
        groups.setdefault(tcr(p, q), []).append(row)
    return dict(sorted(groups.items()))


def _differences(panel: Panel, rows: Rows, by: Definition, weight: Array) -> tuple[Array, Array]:
    """(k, k) differences and their standard errors; of Sr2 both times the dense model's sum."""
    picked = np.asarray(rows, dtype=int)
    if by == "sr2":
        kept = panel.counted & panel.higher
        top = weight * panel.comparable()[picked][:, kept].sum(axis=1)
        spread = np.zeros((len(picked),) * 2)
        for task in np.flatnonzero(kept):
            spread += panel.covariance(int(task), picked)
    else:
        top = weight * panel.sr1().value[picked]
        spread = sr_covariance(panel, picked, by)
    return _outer(top), difference_stderr(spread, weight)


@unbounded()
def look_at(panel: Panel, rows: Rows, by: Definition, weight: Array) -> Look:
    """(k, k) differences between cells as one look has them; row minus column.

    Sr2: z = (w_a sum P_a - w_b sum P_b) / sqrt(w_a^2 sum s_a^2 + w_b^2 sum s_b^2 -
    2 w_a w_b sum s_ab): the dense model's sum divides both sides and cancels. Sr1: the
    baseline of each task stays, with weight (R_a - R_b)^2 where no documents are shared;
    against the dense cell itself the variance is that of R_b.

    Args:
        panel: the scores.
        rows: k rows of the panel.
        by: the definition of Sr.
        weight: (k,) factors before Sr, 1 for Sr itself.
    """
    top, error = _differences(panel, rows, by, weight)
    unit = panel.dense.value[panel.counted & panel.higher].sum() if by == "sr2" else 1.0
    return Look(z=_ratio(top, error), variance=(error / unit) ** 2)


def _outer(values: Array) -> Array:
    return np.asarray(values[:, None] - values[None, :])


def _ratio(top: Array, bottom: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        z = top / bottom
    return np.where((top == 0) & (bottom == 0), 0.0, z)


def compare(
    panel: Panel, rows: Rows, by: str, *, rate: Fraction | None = None, nominal: bool = True
) -> Verdict:
    """Rank the rows of one group and say which cannot be told from the best.

    A cell is out of the best set when some cell of another method is better after the
    correction over all such pairs, so the truly best one is in the set at 95 %. A cell whose
    label is not proved (see `not_proved`) is left out: it is no equal of the others.

    Args:
        panel: the scores.
        rows: the group, as rows of the panel.
        by: "sr1", "sr2", or an SrCr ("srcr_p", "srcr_q", "srcr_j": Sr2 times its weight).
        rate: the common TCr of the group, if that is what makes it one.
        nominal: leave cells out whose label, hence rate, is not proved; false for groups by real
            size, which such a cell has as any other.
    """
    definition: Definition = "sr1" if by == "sr1" else "sr2"
    weight = srcr_weight(panel, by) if by.startswith("srcr") else np.ones(len(panel.cells))
    values = weight * (panel.sr1() if definition == "sr1" else panel.sr2()).value
    short = not_proved(panel) if nominal else {}
    left_out = [(row, why) for row in rows if (why := _unfit(panel, row, values[row], short))]
    out = {row for row, _ in left_out}
    ranked = sorted((r for r in rows if r not in out), key=lambda r: (-values[r], r))
    factors = weight[np.array(ranked, dtype=int)]
    method = panel.cells["method"].to_numpy(object)[np.array(ranked, dtype=int)]
    alike = method[:, None] == method[None, :]
    before = [look_at(one, ranked, definition, factors) for one in looks.earlier(panel)]
    now = look_at(panel, ranked, definition, factors)
    grown = any(panel.looks)
    told = repeated([*before, now], alike, ALPHA) if grown else once(now, alike)
    beaten = np.asarray(((told.adjusted <= ALPHA) & (told.ahead < 0)).any(axis=1))
    own = tuple(row for i, row in enumerate(ranked) if i and alike[0, i])
    rivals = np.flatnonzero(~alike[0]) if ranked else np.array([], dtype=int)
    pairs = _pairs(panel, ranked, by, values, now, told, factors, rivals)
    best = tuple(row for row, lost in zip(ranked, beaten.tolist(), strict=True) if not lost)
    return Verdict(
        model=panel.model,
        tcr=rate,
        by=by,
        ranked=tuple(ranked),
        best=best,
        own=own,
        pairs=pairs,
        left_out=tuple(left_out),
        family=told.family,
        looks=len(before) + 1 if grown else 1,
        across=across(panel.cells, ranked) if len(ranked) > 1 else "",
    )


def _pairs(
    panel: Panel,
    ranked: Rows,
    by: str,
    values: Array,
    now: Look,
    told: Told,
    weight: Array,
    rivals: NDArray[np.int_],
) -> tuple[Pair, ...]:
    """The first of the ranked rows against its rivals, which are places among the ranked."""
    if not len(rivals):
        return ()
    definition: Definition = "sr1" if by == "sr1" else "sr2"
    difference = values[ranked[0]] - values[np.asarray(ranked)]
    stderr = difference_stderr(sr_covariance(panel, ranked, definition), weight)[0]
    own = np.ones(len(panel.cells))
    own[np.asarray(ranked)] = weight
    ends = sr_intervals(panel, definition, [(ranked[0], ranked[i]) for i in rivals.tolist()], own)
    equal = np.full(len(ranked), np.nan)
    if any(panel.looks):
        reach = always(stderr, ALPHA)
        low, high = difference - reach, difference + reach
        ends = [Interval(low=float(low[i]), high=float(high[i])) for i in rivals]
    if not by.startswith("srcr"):
        alike = equivalent if any(panel.looks) else tost
        equal[rivals] = holm(alike(difference[rivals], stderr[rivals], margin=MARGIN))
    return tuple(
        Pair(
            first=ranked[0],
            second=ranked[i],
            difference=float(difference[i]),
            z=float(now.z[0, i]),
            p=float(told.adjusted[0, i]),
            look=int(told.look[0, i]),
            equivalent=float(equal[i]),
            paired=panel.paired(ranked[0], ranked[i]),
            interval=interval,
            across=across(panel.cells, (ranked[0], ranked[i])),
        )
        for i, interval in zip(rivals.tolist(), ends, strict=True)
    )


def _unfit(panel: Panel, row: int, value: float, short: Mapping[int, str]) -> str:
    if not np.isfinite(value):
        return panel.why_no_sr(row) or "no task to compare by this definition"
    return short.get(row, "")


@lru_cache(maxsize=8)
def not_proved(panel: Panel) -> dict[int, str]:
    """Row -> what is wrong, of the cells whose checkpoint is not shown to be what its label says.

    The checkpoint falls short of its rate; or the mask was ignored and some pruned weight is no
    longer zero, however few; or what was measured leaves it open. Cells of which nothing was
    measured, as published ones, are taken at their word, which their origin says.
    """
    cells = panel.cells
    achieved = cells["achieved_tcr"].to_numpy(float)
    meant = 1 - cells["bits"].to_numpy(float) / DENSE_BITS * (1 - cells["sparsity"].to_numpy(float))
    kept = (
        cells["containment_mean"]
        .where(cells["containment_mean"].notna(), cells["containment"])
        .to_numpy(float)
    )
    said = cells["unproved"].to_numpy(object)
    found = {int(row): str(said[row]) for row in np.flatnonzero(said != "")}
    for row in np.flatnonzero(achieved < meant - SHORT_OF_RATE):
        found[int(row)] = (
            f"its achieved TCr is {100 * achieved[row]:.2f} %, not {100 * meant[row]:.6g} %"
        )
    ignored = (cells["mask"] == "ignore").to_numpy() & (kept < 1)
    for row in np.flatnonzero(ignored):
        found.setdefault(
            int(row),
            f"its label is not proved: {_floor(kept[row])} % of its pruned weights are still zero "
            f"(achieved TCr {100 * achieved[row]:.2f} %)",
        )
    return found


def _floor(share: float) -> str:
    """In per cent, rounded down: what is not all never reads as all."""
    return f"{np.floor(1e4 * share) / 100:.2f}"


def defined(panel: Panel) -> tuple[Definition, ...]:
    """The definitions of Sr that there are: Sr2 wants a task where higher is better (eq. 12)."""
    perplexities_only = bool(panel.counted.any()) and not bool((panel.counted & panel.higher).any())
    return ("sr1",) if perplexities_only else ("sr2", "sr1")


def verdicts(panel: Panel, by: Definition | None = None) -> list[Verdict]:
    """One verdict per TCr that at least two cells of the model share; by Sr2 where there is one."""
    return list(_verdicts(panel, by or defined(panel)[0]))


@lru_cache(maxsize=8)  # tables, figures and sentences all ask; a panel never changes
def _verdicts(panel: Panel, by: Definition) -> tuple[Verdict, ...]:
    groups = equal_tcr_groups(panel.cells)
    return tuple(
        compare(panel, rows, by, rate=rate) for rate, rows in groups.items() if len(rows) > 1
    )


def srcr_verdicts(panel: Panel) -> list[Verdict]:
    """The best cell by SrCr_p, by SrCr_q and by SrCr_j: three scales, three verdicts."""
    return list(_srcr_verdicts(panel))


@lru_cache(maxsize=8)  # sentences and figures all ask; a panel never changes
def _srcr_verdicts(panel: Panel) -> tuple[Verdict, ...]:
    found = []
    for name in ("srcr_p", "srcr_q", "srcr_j"):
        rows = np.flatnonzero(np.isfinite(srcr_weight(panel, name)))
        if len(rows) > 1:
            found.append(compare(panel, [int(r) for r in rows], name))
    return tuple(found)
