"""What to run next: which documents, seeds or cells would decide what is open, at what cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import optimize, stats

from analysis.comparison.seed_variance import FEWEST_SEEDS, methods
from analysis.comparison.verdicts import ALPHA, Verdict, verdicts
from analysis.curves.measured_curves import tolerances
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.output.table import Column, Table
from analysis.output.text import percent
from analysis.statistics.retention_curve import KEPT
from analysis.statistics.sequential import EXPECTED_SPREAD, mixture_boundary, mixture_rho

POWER = 0.8
MOST_DOCUMENTS = 50.0
"""A tie that needs more than so many times the documents is better left a tie."""


def next_table(panels: Sequence[Panel]) -> Table:
    """One row per thing that could be run: what it would decide, and the hours it takes.

    Costs are those of the cells' own recorded seconds: what a cell took, times how much more
    of it is needed.
    """
    rows = [row for panel in panels for row in _steps(panel)]
    columns = (
        Column(key="model", title="Model"),
        Column(key="run", title="Run"),
        Column(key="decides", title="It would decide"),
        Column(key="hours", title="Hours, about", form="number", digits=2),
    )
    notes = (
        f"Documents: for {100 * POWER:g} % power at the family's 5 %, if the difference is "
        "as large as it was seen, which the winner's seldom is: take it as the least. To add some "
        "is another look, so they are counted for the test that holds at all looks, by which the "
        "verdicts of a sweep that grew are made: look again as often as you like. Hours "
        "are those that the same cells took, compression included, so at most; – where none "
        "were recorded.",
    )
    return Table(
        name="next",
        caption="What to run next",
        columns=columns,
        rows=pd.DataFrame(rows),
        notes=notes,
    )


def _steps(panel: Panel) -> Iterator[dict[str, object]]:
    found = verdicts(panel)
    yield from _missing(panel)
    for verdict in found:
        yield from _ties(panel, verdict)
    yield from _seeds(panel, found)
    yield from _transitions(panel)


def _missing(panel: Panel) -> Iterator[dict[str, object]]:
    """Cells that are planned but not done; the hours are those of a cell that is."""
    names, usual = labels(panel), _hours(panel, range(len(panel.cells)))
    for row in np.flatnonzero(panel.cells["status"] == "missing"):
        yield {
            "model": panel.model,
            "run": names[row],
            "hours": usual,
            "decides": "it is planned and not done yet",
        }


def _ties(panel: Panel, verdict: Verdict) -> Iterator[dict[str, object]]:
    """How many more documents would tell the best from its nearest rival."""
    rivals = [pair for pair in verdict.pairs if not pair.decided and np.isfinite(pair.z)]
    if not rivals or verdict.tcr is None:
        return
    pair = max(rivals, key=lambda one: abs(one.z))
    stderr = abs(pair.difference / pair.z) if pair.z else math.inf
    factor = documents_needed(pair.z, stderr, verdict.family)
    if 1 < factor <= MOST_DOCUMENTS:
        names = labels(panel)
        yield {
            "model": panel.model,
            "run": f"{factor:.1f} times the documents on {names[pair.first]} and "
            f"{names[pair.second]}",
            "decides": f"which of the two is better at {percent(verdict.tcr)} TCr",
            "hours": (factor - 1) * 2 * _hours(panel, (pair.first, pair.second)),
        }


def documents_needed(z: float, stderr: float, family: int) -> float:
    """Times the documents at which a difference is told by `POWER`, if it is what it seems.

    Told by the normal mixture, for whoever adds documents looks again.

    Args:
        z: the difference over its standard error with the documents there are; this error
            falls with the square root of their number.
        stderr: that error, of Sr.
        family: number of tests that share the 5 %; the first step of Holm's correction.
    """
    if not z:
        return math.inf
    level, power = ALPHA / max(family, 1), float(stats.norm.ppf(POWER))

    def lacking(log: float) -> float:
        factor = math.exp(log)
        edge = float(mixture_boundary(stderr**2 / factor, level, mixture_rho(EXPECTED_SPREAD)))
        return edge + power - abs(z) * math.sqrt(factor)

    widest = 40.0
    if lacking(widest) > 0:
        return math.inf
    return math.exp(float(optimize.brentq(lacking, -widest, widest)))


def _seeds(panel: Panel, found: Sequence[Verdict]) -> Iterator[dict[str, object]]:
    """Seeds that would turn a verdict about checkpoints into one about methods."""
    for verdict in found:
        decided = [pair for pair in verdict.pairs if pair.decided]
        if not decided or verdict.tcr is None:
            continue
        pair = decided[0]
        lacking = [
            (m, FEWEST_SEEDS - len(m.rows))
            for m in methods(panel, verdict.ranked)
            if {pair.first, pair.second} & set(m.rows.values()) and m.calibrated
        ]
        short = [(m.label, n) for m, n in lacking if n > 0]
        if short:
            hours = sum(n for _, n in short) * _hours(panel, (pair.first, pair.second))
            yield {
                "model": panel.model,
                "hours": hours,
                "run": " and ".join(f"{n} more calibration seeds of {name}" for name, n in short),
                "decides": f"whether the verdict at {percent(verdict.tcr)} TCr holds for the "
                "methods",
            }


def _transitions(panel: Panel) -> Iterator[dict[str, object]]:
    """The sparsity that halves the widest gap inside the interval of a curve's point."""
    for name, axis, rows, rates, one in tolerances(panel, "sr2"):
        if axis != "sparsity":
            continue
        inside = [s for s in rates if one.low < s < one.high]
        knots = [max(one.low, 0.0), *inside, min(one.high, 0.99)]
        gaps = np.diff(knots)
        if len(gaps) and gaps.max() > 0.05:
            at = knots[int(gaps.argmax())] + gaps.max() / 2
            yield {
                "model": panel.model,
                "hours": _hours(panel, rows),
                "run": f"{name} at {100 * at:.0f}% sparsity",
                "decides": f"where {100 * KEPT:g} % of the dense model end",
            }


def _hours(panel: Panel, rows: Sequence[int] | range) -> float:
    """Mean hours of some cells; nan where nothing was recorded."""
    seconds = panel.cells["seconds"].to_numpy(float)[np.asarray(rows, dtype=int)]
    known = seconds[np.isfinite(seconds) & (seconds > 0)]
    return float(known.mean() / 3600) if len(known) else float("nan")
