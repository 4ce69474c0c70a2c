"""How far the ranking depends on the definition: Sr1, Sr2, chance taken off, SrCr's exponents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from analysis.comparison.summary import kinds
from analysis.comparison.verdicts import equal_tcr_groups, verdicts
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.metrics import Array, weight_p, weight_q
from analysis.output.table import Column, Table
from analysis.statistics.intervals import LEVEL, Interval

EXPONENTS = (0.25, 0.5, 1.0, 2.0)
"""Of sqrt(p) in eq. 13 (0.5 as published) and of the factor of bits in eq. 14 (1)."""


def above_chance(panel: Panel) -> Array:
    """(C,) mean over tasks of (P_c - g)/(P_o - g), g being what guessing scores.

    Over the counted tasks with a known chance level whose baseline is clear of it; nan
    where there is none. A task at chance would divide by nothing.
    """
    kept = panel.counted & panel.higher & np.isfinite(panel.levels)
    kept &= np.array([said == "" for said in panel.chance], dtype=bool)
    if not kept.any():
        return np.full(len(panel.cells), np.nan)
    level, dense = panel.levels[kept], panel.dense.value[kept]
    each = (panel.comparable()[:, kept] - level) / (dense - level)
    return np.asarray(each.mean(axis=1))


def fieller(top: float, bottom: float, top_var: float, bottom_var: float, cov: float) -> Interval:
    """The 95 % interval of a ratio whose denominator is uncertain (Fieller 1954).

    Where the denominator is not clear of 0 the set is unbounded: (-inf, inf) is returned,
    for then the data put no bound on the ratio.
    """
    z2 = float(stats.norm.ppf((1 + LEVEL) / 2)) ** 2
    a = bottom**2 - z2 * bottom_var
    b = top * bottom - z2 * cov
    c = top**2 - z2 * top_var
    if a <= 0:
        return Interval(low=-np.inf, high=np.inf)
    half = float(np.sqrt(max(b**2 - a * c, 0.0)))
    return Interval(low=(b - half) / a, high=(b + half) / a)


def ranking_table(panels: Sequence[Panel]) -> Table:
    """The best cell of every TCr under each definition, and how alike the rankings are."""
    rows = [row for panel in panels for row in _rankings(panel)]
    columns = (
        Column(key="model", title="Model"),
        Column(key="tcr", title="TCr", form="percent"),
        Column(key="cells", title="Cells", form="number", digits=0),
        Column(key="sr2", title="Best by Sr2"),
        Column(key="sr1", title="by Sr1"),
        Column(key="above", title="by retention above chance"),
        Column(key="tau_sr1", title="Kendall's tau, Sr2 and Sr1", form="number", digits=2),
        Column(key="tau_above", title="Sr2 and above chance", form="number", digits=2),
        Column(key="verdict", title="Depends on the definition?"),
    )
    notes = (
        "“Among the best” means that the winner by another definition is one of those that "
        "do not differ significantly from the winner by Sr2. Retention above chance is the mean of "
        "(P − g)/(P_dense − g) over tasks whose dense score is clear of guessing, g.",
    )
    return Table(
        name="definitions",
        caption="Does the choice depend on the definition?",
        columns=columns,
        rows=pd.DataFrame(rows),
        notes=notes,
    )


def _rankings(panel: Panel) -> list[dict[str, object]]:
    names = labels(panel)
    by = {"sr2": panel.sr2().value, "sr1": panel.sr1().value, "above": above_chance(panel)}
    rows = []
    for verdict in verdicts(panel, "sr2"):
        group = np.array(verdict.ranked, dtype=int)
        if len(group) < 2:
            continue
        best = {
            name: int(group[np.argmax(v[group])]) if np.isfinite(v[group]).all() else None
            for name, v in by.items()
        }
        others = {row for row in best.values() if row is not None}
        rows.append(
            {
                "model": panel.model,
                "tcr": float(verdict.tcr or 0),
                "cells": len(group),
                **{name: "" if row is None else names[row] for name, row in best.items()},
                "tau_sr1": _tau(by["sr2"][group], by["sr1"][group]),
                "tau_above": _tau(by["sr2"][group], by["above"][group]),
                "verdict": _depends(others, (*verdict.best, *verdict.own)),
            }
        )
    return rows


def _tau(one: Array, two: Array) -> float:
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        return float("nan")
    return float(stats.kendalltau(one, two).statistic)


def _depends(winners: set[int], best: Sequence[int]) -> str:
    if len(winners) == 1:
        return "no"
    return "among the best" if winners <= set(best) else "yes"


def exponent_table(panels: Sequence[Panel]) -> Table:
    """The best joint cell by p^a (-log2(q/16)/4)^b Sr2 for several a and b."""
    rows = []
    for panel in panels:
        joint = np.flatnonzero((kinds(panel.cells) == "joint") & np.isfinite(panel.sr2().value))
        if len(joint) < 2 or len(equal_tcr_groups(panel.cells)) < 2:
            continue
        p, q = (panel.cells[c].to_numpy(float)[joint] for c in ("sparsity", "bits"))
        for a in EXPONENTS:
            row: dict[str, object] = {"model": panel.model, "a": a}
            for b in EXPONENTS:
                score = weight_p(p) ** (2 * a) * weight_q(q) ** b * panel.sr2().value[joint]
                row[f"b{b:g}"] = labels(panel)[int(joint[np.argmax(score)])]
            rows.append(row)
    columns = (
        Column(key="model", title="Model"),
        Column(key="a", title="a of p^a", form="number", digits=2),
        *(Column(key=f"b{b:g}", title=f"b = {b:g}") for b in EXPONENTS),
    )
    notes = (
        "Published: a = 0.5, b = 1 (eq. 13 to 15). The exponents set what a point of "
        "compression is worth; where the best cell changes with them, the optimum is theirs "
        "and not the data's.",
    )
    return Table(
        name="exponents",
        caption="The best joint cell under other exponents of SrCr_j",
        columns=columns,
        rows=pd.DataFrame(rows),
        notes=notes,
    )
