"""Verdicts in plain English, no stronger than the data behind them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np

from analysis.compare import ALPHA, Pair, Verdict
from analysis.intervals import MARGIN
from analysis.metrics import Array, Estimate
from analysis.panel import Panel
from analysis.summary import srcr_weight

NAMES = {
    "sr1": "Sr1",
    "sr2": "Sr2",
    "srcr_p": "SrCr_p",
    "srcr_q": "SrCr_q",
    "srcr_j": "SrCr_j",
}
SCOPE = "for these checkpoints"
LONGEST, END = 34, 12  # characters of a name in a drawing, and of its end


def percent(rate: Fraction | float) -> str:
    """A rate with as many digits as it needs, three at most for thirds: 81.25 %, 83.333 %."""
    hundred = 100 * float(rate)
    digits = 4 if abs(hundred - round(hundred, 4)) < 1e-9 else 3
    return f"{hundred:.{digits}f}".rstrip("0").rstrip(".") + " %"


def plus_minus(value: float, stderr: float, digits: int = 3) -> str:
    """'0.818 ± 0.009'; '1' for the baseline; the gap is said, never printed as a number."""
    if not np.isfinite(value):
        return "–"
    if stderr == 0 and value == 1:
        return "1"
    if not np.isfinite(stderr):
        return f"{value:.{digits}f} ± ?"
    if 0 < stderr < 10.0**-digits:  # a small error is not none: show its first digit
        digits = min(6, -math.floor(math.log10(stderr)))
    return f"{value:.{digits}f} ± {stderr:.{digits}f}"


@lru_cache(maxsize=8)  # every sentence and row asks for them; a panel never changes
def labels(panel: Panel) -> tuple[str, ...]:
    """(C,) the labels, with what tells namesakes apart: method, seed, at last the key."""
    cells = panel.cells
    names = list(cells["label"])
    for suffix in (_methods(panel), _seeds(panel), [f"[{key}]" for key in cells["cell"]]):
        kinds: dict[str, set[str]] = {}
        for name, said in zip(names, suffix, strict=True):
            kinds.setdefault(name, set()).add(said)
        names = [f"{n} {s}".strip() if len(kinds[n]) > 1 else n
                 for n, s in zip(names, suffix, strict=True)]  # fmt: skip
    return tuple(names)


def short(name: str) -> str:
    """A name as a drawing has room for it: without its middle, the end tells namesakes apart."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - END - 1]}…{name[-END:]}"


def _methods(panel: Panel) -> list[str]:
    columns = panel.cells["prune_method"], panel.cells["quant_method"]
    return [f"({', '.join(m for m in pair if m)})" if any(pair) else ""
            for pair in zip(*columns, strict=True)]  # fmt: skip


def _seeds(panel: Panel) -> list[str]:
    return [f"(seed {s:.0f})" if np.isfinite(s) else "" for s in panel.cells["calibration_seed"]]


def values(panel: Panel, by: str) -> Estimate:
    """(C,) the quantity that a verdict ranks by."""
    retained = panel.sr1() if by == "sr1" else panel.sr2()
    if not by.startswith("srcr"):
        return retained
    weight: Array = srcr_weight(panel, by)
    return Estimate(value=weight * retained.value, stderr=weight * retained.stderr)


def conclusion(panel: Panel, verdict: Verdict) -> str:
    """One sentence: what to choose in this group and how sure that is."""
    names, estimate = labels(panel), values(panel, verdict.by)
    at = f"At {percent(verdict.tcr)} TCr" if verdict.tcr is not None else (
        f"By {NAMES[verdict.by]}"
    )  # fmt: skip
    if not verdict.ranked:
        return f"{at}, no cell can be judged."
    if len(verdict.ranked) == 1:
        return f"{at}, only {names[verdict.ranked[0]]} can be judged: there is nothing to compare."
    top = verdict.ranked[0]
    shown = f"{names[top]} ({plus_minus(estimate.value[top], estimate.stderr[top])})"
    if not any(np.isfinite(pair.z) for pair in verdict.pairs):
        return f"{at}, {shown} scored highest, but without standard errors nothing is decided."
    if len(verdict.best) == 1:
        z, others = min(pair.z for pair in verdict.pairs), len(verdict.pairs)
        rest = (
            f"{names[verdict.pairs[0].second]}" if others == 1 else f"each of the {others} others"
        )
        sure = f"{z:.1f}" if others == 1 else f"at least {z:.1f}"
        return (f"{at}, choose {shown}: {SCOPE} it is better than {rest} by {sure} standard "
                f"errors{_flags(panel, (top,))}.")  # fmt: skip
    tied = [names[row] for row in verdict.best if row != top]
    worse = [names[row] for row in verdict.ranked if row not in verdict.best]
    rest = f"; worse: {_listed(worse)}" if worse else ""
    return (f"{at}, {shown} scored highest but cannot be told from {_listed(tied)}: "
            f"undecided{rest}{_flags(panel, verdict.best)}.")  # fmt: skip


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
    at = f"At {percent(verdict.tcr)} TCr" if verdict.tcr is not None else (
        f"By {NAMES[verdict.by]}"
    )  # fmt: skip
    told = f"{at}, {first} {verb} {plus_minus(*a)}{unit}, {second} {plus_minus(*b)}"
    if not np.isfinite(pair.z):
        return f"{told}: a standard error is missing, undecided."
    how = _how(pair)
    if not pair.decided:
        near = _near(pair)
        return f"{told}: they cannot be told apart (z = {pair.z:.1f}{how}), undecided.{near}"
    return f"{told}: {SCOPE}, {first} is better by {pair.z:.1f} standard errors{how}."


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
