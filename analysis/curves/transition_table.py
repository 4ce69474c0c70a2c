"""Transitions of many curves as one table: the point, its interval, and what else would fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from analysis.output.table import Column, Table
from analysis.published.mpt import STATED, STATED_OF, curves
from analysis.statistics.perplexity_transition import (
    BROKEN,
    CUBIC,
    HINGE,
    POWER,
    POWER_K2,
    QUADRATIC,
    Curve,
    Fit,
    fits,
    knee,
    preferred,
)

CLEAR = 4.0  # a difference in AICc that is evidence; less leaves both forms standing
_KEYS = {POWER: "power", POWER_K2: "k2", HINGE: "hinge", QUADRATIC: "quadratic", CUBIC: "cubic"}

NOTES = (
    "Least squares on log perplexity, s = 0 left out (the form is 0 there). The interval is the "
    "F-profile of s0 at 95 %, never narrower than the spacing of the measurements; < or > marks "
    "an end that the data do not close.",
    "ΔAICc is against the form with the lowest; – where it does not exist (n < p + 3). A break "
    "counts as one parameter, which favours broken forms a little; with 7 or 8 points the "
    "penalty on a fourth parameter is large, so there AICc mostly says that the points are few.",
    "The knee is the measured point farthest below the chord of log perplexity: it always names "
    "one, whether there is a break or not.",
)


def transition_table(found: Iterable[tuple[str, str, Curve]], *, name: str, caption: str) -> Table:
    """One row per curve: s0 by each broken form, the knee, and how the forms compare.

    Args:
        found: (where it is from, kind of compression, curve).
        name: of the table's files.
        caption: its heading.
    """
    rows = pd.DataFrame([_row(*one) for one in found])
    columns = [
        Column(key="source", title="Table"),
        Column(key="curve", title="Curve"),
        Column(key="n", title="Points", form="number", digits=0),
        *(
            Column(key=f"{_KEYS[form]}_said", title=title)
            for form, title in (
                (POWER, "s0, k2 = 0, %"),
                (POWER_K2, "s0, k2 free, %"),
                (HINGE, "s0, two exponentials, %"),
            )
        ),
        Column(key="knee", title="Knee", form="percent", digits=1),
        Column(key="spread", title="s0 differs by", form="percent", digits=1),
        *(
            Column(key=f"{key}_aicc", title=f"ΔAICc {title}", form="number", digits=1)
            for key, title in (
                ("power", "k2 = 0"),
                ("k2", "k2 free"),
                ("hinge", "two exponentials"),
                ("quadratic", "quadratic"),
                ("cubic", "cubic"),
            )
        ),
        Column(key="verdict", title="A break?"),
        Column(key="stated", title="As stated"),
    ]
    kept = [c for c in columns if rows.empty or (rows[c.key].astype(str) != "").any()]
    return Table(name=name, caption=caption, columns=tuple(kept), rows=rows, notes=NOTES)


def mpt_transitions() -> Table:
    """All curves of MPT's tables 1, 2, 3, 7, 8, 9 and 10."""
    return transition_table(
        curves(), name="mpt_transitions", caption="Phase transitions of MPT's curves, fitted again"
    )


def verdict(found: Sequence[Fit]) -> str:
    """What the comparison of broken and smooth forms says of a curve."""
    best = preferred(found)
    if best is None:
        return "too few points to compare forms"
    broken, smooth = (
        min(
            (f.aicc for f in found if (f.form in BROKEN) is kind and np.isfinite(f.aicc)),
            default=np.inf,
        )
        for kind in (True, False)
    )
    if abs(broken - smooth) < CLEAR:
        return "either: undecided"
    return f"{'a break' if broken < smooth else 'no: smooth'} ({best.form})"


def _row(source: str, kind: str, data: Curve) -> dict[str, object]:
    found = fits(data)
    best, by_form = preferred(found), {one.form: one for one in found}
    row: dict[str, object] = {"source": source, "kind": kind, "curve": data.name, "n": len(data.s)}
    for form, key in _KEYS.items():
        one = by_form.get(form)
        row[f"{key}_aicc"] = one.aicc - best.aicc if one and best else np.nan
        if form in BROKEN:
            row |= {
                f"{key}_point": one.point if one else np.nan,
                f"{key}_low": one.low if one else np.nan,
                f"{key}_high": one.high if one else np.nan,
                f"{key}_said": _shown(one),
            }
    points = [by_form[form].point for form in BROKEN if form in by_form]
    row["spread"] = max(points) - min(points) if points else np.nan
    return row | {
        "knee": knee(data),
        "verdict": verdict(found),
        "stated": _stated(kind, data.name, by_form.get(POWER)),
    }


def said(point: float, low: float, high: float, open_ends: tuple[bool, bool]) -> str:
    """'57.7 (52 to 67)', in percent, ends rounded outwards; an open one carries its sign."""
    down, up = outwards(100 * low, 100 * high, 0)
    ends = f"{'<' * open_ends[0]}{down:.0f} to {'>' * open_ends[1]}{up:.0f}"
    return f"{100 * point:.1f} ({ends})"


def outwards(low: float, high: float, digits: int) -> tuple[float, float]:
    """Both ends with so many decimals, and none of the interval lost."""
    unit = 10.0**digits
    # what is a whole number but for rounding errors stays where it is
    return (math.floor(round(low * unit, 6)) / unit, math.ceil(round(high * unit, 6)) / unit)


def _shown(one: Fit | None) -> str:
    if one is None:
        return "–"
    return said(one.point, one.low, one.high, (one.open_low, one.open_high))


def _stated(kind: str, name: str, one: Fit | None) -> str:
    """Whether what the collection states agrees with the published form's interval."""
    of_method = [at for method, at in STATED_OF.items() if name.startswith(method)]
    if one is None or (kind not in STATED and not of_method):
        return ""
    low, high = (of_method[0], of_method[0]) if of_method else STATED[kind]
    where = f"{100 * low:g} %" if low == high else f"{100 * low:g} to {100 * high:g} %"
    if one.low <= high and one.high >= low:
        inside = low <= one.point <= high
        return f"{where}: {'inside' if inside else 'outside, interval overlaps'}"
    return f"{where}: no"
