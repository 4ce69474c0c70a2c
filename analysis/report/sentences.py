"""Verdicts in plain English, no stronger than the data behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from analysis.comparison.summary import values
from analysis.comparison.verdicts import ALPHA, Pair, Verdict
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.metrics import Estimate
from analysis.output.text import NAMES, percent, plus_minus
from analysis.statistics.intervals import MARGIN

SCOPE = "for these checkpoints"


def conclusion(panel: Panel, verdict: Verdict) -> str:
    """One sentence: what to choose in this group and how sure that is."""
    names, estimate = labels(panel), values(panel, verdict.by)
    at = (
        f"At {percent(verdict.tcr)} TCr" if verdict.tcr is not None else (f"By {NAMES[verdict.by]}")
    )
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
        z, others = min(pair.z for pair in verdict.pairs), len(verdict.pairs)
        of = " of other methods" if verdict.own else ""
        rest = (
            f"{names[verdict.pairs[0].second]}"
            if others == 1
            else f"each of the {others} others{of}"
        )
        sure = f"{z:.1f}" if others == 1 else f"at least {z:.1f}"
        seen = "" if verdict.looks == 1 else f", valid at all {verdict.looks} looks"
        return (
            f"{at}, choose {shown}: {SCOPE} it is better than {rest} by {sure} standard "
            f"errors{seen}{_own(verdict)}{_flags(panel, (top,))}."
        )
    tied = [names[row] for row in verdict.best if row != top and row not in verdict.own]
    worse = [names[row] for row in verdict.ranked if row not in (*verdict.best, *verdict.own)]
    rest = f"; worse: {_listed(worse)}" if worse else ""
    return (
        f"{at}, {shown} scored highest but cannot be told from {_listed(tied)}: "
        f"undecided{rest}{_own(verdict)}{_flags(panel, verdict.best)}."
    )


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
    unit = " of the dense model" if verdict.tcr is not None else ""
    verb = "keeps" if verdict.tcr is not None else "reaches"
    at = (
        f"At {percent(verdict.tcr)} TCr" if verdict.tcr is not None else (f"By {NAMES[verdict.by]}")
    )
    told = f"{at}, {first} {verb} {plus_minus(*a)}{unit}, {second} {plus_minus(*b)}"
    if not np.isfinite(pair.z):
        return f"{told}: a standard error is missing, undecided."
    if verdict.looks > 1:
        return f"{told}: {_over_looks(verdict, pair, first)}"
    how = _how(pair)
    if not pair.decided:
        near = _near(pair)
        return f"{told}: they cannot be told apart (z = {pair.z:.1f}{how}), undecided.{near}"
    return f"{told}: {SCOPE}, {first} is better by {pair.z:.1f} standard errors{how}."


def _over_looks(verdict: Verdict, pair: Pair, first: str) -> str:
    """What is said of a pair of a sweep that grew: nothing that holds for one look only."""
    low, high = pair.interval.low, pair.interval.high
    interval = f"difference {pair.difference:.3f}, at all looks 95 % {low:.3f} to {high:.3f}"
    if not pair.decided:
        return f"over {verdict.looks} looks they cannot be told apart ({interval}), undecided."
    return f"{SCOPE}, {first} is better, told at look {pair.look} of {verdict.looks} ({interval})."


def _how(pair: Pair) -> str:
    """What a paired test adds: that it is one, and the difference with its interval."""
    if not pair.paired:
        return ""
    low, high = pair.interval.low, pair.interval.high
    return f", document by document; difference {pair.difference:.3f}, 95 % {low:.3f} to {high:.3f}"


def _near(pair: Pair) -> str:
    """Whether an undecided pair differs by less than matters; no decision is no such proof."""
    if not np.isfinite(pair.equivalent):
        return ""
    p = "p < 0.001" if pair.equivalent < 0.001 else f"p = {pair.equivalent:.3f}"
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
