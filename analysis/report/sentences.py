"""Verdicts in plain English, no stronger than the data behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from analysis.comparison.summary import values
from analysis.comparison.verdicts import ALPHA, Pair, Verdict
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.metrics import Estimate
from analysis.output.text import NAMES, difference, megabytes, p_value, percent, plus_minus
from analysis.statistics.intervals import MARGIN

SCOPE = "for these checkpoints"


def conclusion(panel: Panel, verdict: Verdict) -> str:
    """One sentence: what to choose in this group and how sure that is."""
    names, estimate, at = labels(panel), values(panel, verdict.by), _at(verdict)
    if not verdict.ranked:
        return f"{at}, no cell can be judged."
    if not verdict.pairs:
        return (
            f"{at}, only {names[verdict.ranked[0]]} can be judged: there is nothing to "
            f"compare{_own(verdict)}."
        )
    top = verdict.ranked[0]
    shown = f"{names[top]} ({plus_minus(estimate.value[top], estimate.stderr[top])})"
    if not any(np.isfinite(pair.z) for pair in verdict.pairs):
        return f"{at}, {shown} scored highest, but without standard errors nothing is decided."
    if verdict.decided:
        nearest, others = min(verdict.pairs, key=lambda pair: pair.z), len(verdict.pairs)
        of = " of other methods" if verdict.own else ""
        rival = names[nearest.second]
        rest = rival if others == 1 else f"each of the {others} others{of}; nearest is {rival}"
        flags = f"{_own(verdict)}{_flags(panel, (top,))}{across(verdict.across)}"
        seen = "" if verdict.looks == 1 else f", valid at all {verdict.looks} looks"
        return (
            f"{at}, choose {shown}: {SCOPE} it is better than {rest}, by "
            f"{_difference(nearest)}{seen}{flags}."
        )
    tied = [names[row] for row in verdict.best if row != top and row not in verdict.own]
    worse = [names[row] for row in verdict.ranked if row not in (*verdict.best, *verdict.own)]
    rest = f"; worse: {_listed(worse)}" if worse else ""
    return (
        f"{at}, {shown} scored highest but is not significantly different from {_listed(tied)}: "
        f"undecided{rest}{_own(verdict)}{_flags(panel, verdict.best)}{across(verdict.across)}."
    )


def across(types: str) -> str:
    """What is said of a comparison across machines, whose errors do not contain them."""
    return f" (across machines, which no standard error here contains: {types})" if types else ""


def _own(verdict: Verdict) -> str:
    """What is said of the winner's own other seeds: nothing, for that would be chance."""
    count = len(verdict.own)
    return f" (its {count} other calibration seed{'s'[: count > 1]} not ranked)" if count else ""


def sentences(panel: Panel, verdict: Verdict) -> list[str]:
    """The conclusion's evidence: the best against each other cell, then what was left out."""
    names = labels(panel)
    estimate = values(panel, verdict.by)
    told = [_against(verdict, pair, names, estimate) for pair in verdict.pairs]
    return told + [f"{names[row]} is left out: {why}." for row, why in verdict.left_out]


def _against(verdict: Verdict, pair: Pair, names: Sequence[str], estimate: Estimate) -> str:
    first, second = names[pair.first], names[pair.second]
    a, b = ((estimate.value[r], estimate.stderr[r]) for r in (pair.first, pair.second))
    kept = not verdict.by.startswith("srcr")
    unit, verb = (" of the dense model", "keeps") if kept else ("", "reaches")
    told = f"{_at(verdict)}, {first} {verb} {plus_minus(*a)}{unit}, {second} {plus_minus(*b)}"
    if not np.isfinite(pair.z):
        return f"{told}: a standard error is missing, undecided."
    how, far = ", document by document" if pair.paired else "", across(pair.across)
    apart = _difference(pair)
    if verdict.looks > 1:
        how += f", over {verdict.looks} looks"
        how += f", told at look {pair.look}" if pair.look else ""
    if not pair.decided:
        near = _near(pair)
        return f"{told}: not significantly different{how}, by {apart}: undecided{far}.{near}"
    return f"{told}: {SCOPE}, {first} is better{how}, by {apart}{far}."


def _at(verdict: Verdict) -> str:
    """What the cells of a group have in common."""
    if verdict.tcr is not None:
        return f"At {percent(verdict.tcr)} TCr"
    return f"At {megabytes(verdict.size)}" if verdict.size else f"By {NAMES[verdict.by]}"


def _difference(pair: Pair) -> str:
    """The difference with its interval (of this pair alone) and p (of the group's family)."""
    return difference(pair.difference, pair.interval.low, pair.interval.high, pair.p)


def _near(pair: Pair) -> str:
    """Whether an undecided pair differs by less than matters; no decision is no such proof."""
    if not np.isfinite(pair.equivalent):
        return ""
    p = p_value(pair.equivalent)
    if pair.equivalent <= ALPHA:
        return f" They differ by less than {MARGIN:g} (two one-sided tests, {p})."
    return f" Nor is it shown that they differ by less than {MARGIN:g} ({p})."


def _flags(panel: Panel, rows: Iterable[int]) -> str:
    names, picked = labels(panel), list(rows)
    fallen = [names[row] for row in picked if panel.cells["collapsed"].iat[row]]
    return f" (collapsed: {_listed(fallen)})" if fallen else ""


def _listed(names: Sequence[str]) -> str:
    shown = [*names[:6], f"{len(names) - 6} more"] if len(names) > 7 else list(names)
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
