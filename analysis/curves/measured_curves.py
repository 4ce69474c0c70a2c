"""The curves of a sweep, over sparsity and over bits, and where they break."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from analysis.curves.transition_table import outwards, said, transition_table
from analysis.data.panel import Panel
from analysis.data.results import REMOVED
from analysis.metrics import DENSE_BITS, Array, Estimate
from analysis.output.table import Column, Table
from analysis.output.text import NAMES
from analysis.statistics.perplexity_transition import Curve, curve
from analysis.statistics.retention_curve import FEWEST, KEPT, Tolerance, fit

FEWEST_PERPLEXITIES = 5
Line = tuple[str, str, list[int], list[float]]
"""Name, axis, rows of the panel, rates."""

_Cell = Mapping[Hashable, Any]
_ALIKE = ["calibration_seed", "calibration_samples", "group_size", "prune_profile", "quant_profile"]
_OVER_SPARSITY = ["prune_method", "quant_method", "bits", "mask", *_ALIKE]
_OVER_BITS = ["quant_method", "prune_method", "sparsity", "pattern", *_ALIKE]
_USED = list(dict.fromkeys([*_OVER_SPARSITY, *_OVER_BITS, "status"]))


@lru_cache(maxsize=8)
def series(panel: Panel) -> tuple[Line, ...]:
    """(name, axis, rows, rates) of each line of cells that differ in one rate alone.

    The axis is "sparsity" (not of n:m patterns, which share sparsities) or "bits", where
    the rate is 1 - bits/16. Collapsed cells take part: a break is where cells collapse.
    """
    return tuple(_series(panel))


def _series(panel: Panel) -> Iterator[Line]:
    usable = [
        {**cell, "row": row}
        for row, cell in enumerate(panel.cells[_USED].to_dict("records"))
        if cell["status"] == "done"
    ]
    pruned = [c for c in usable if c["pattern"] in ("unstructured", *REMOVED)]
    for part in _alike(pruned, _OVER_SPARSITY):
        ordered = sorted(part, key=lambda cell: float(cell["sparsity"]))
        one = ordered[0]
        quantized = f" + {one['quant_method']} {one['bits']:g}bit{_profile(one, 'quant')}"
        quantized *= one["bits"] < DENSE_BITS
        name = f"{one['prune_method']}{_profile(one, 'prune')}{quantized}{_seed(one)}"
        yield name, "sparsity", [c["row"] for c in ordered], [c["sparsity"] for c in ordered]
    for part in _alike([c for c in usable if c["bits"] < DENSE_BITS], _OVER_BITS):
        ordered = sorted(part, key=lambda cell: -float(cell["bits"]))
        one = ordered[0]
        amount = one["pattern"] if ":" in one["pattern"] else f"{100 * one['sparsity']:.5g}%"
        pruning = f"{one['prune_method']} {amount}{_profile(one, 'prune')} + "
        pruning *= bool(one["prune_method"])
        rates = [1 - c["bits"] / DENSE_BITS for c in ordered]
        name = f"{pruning}{one['quant_method']}{_profile(one, 'quant')}{_seed(one)}"
        yield name, "bits", [c["row"] for c in ordered], rates


def _alike(cells: Sequence[_Cell], names: Sequence[str]) -> list[list[_Cell]]:
    """The cells in groups that agree in what is named, in the order of that."""
    groups: dict[tuple[Any, ...], list[_Cell]] = {}
    for cell in cells:
        # No seed is a value of its own here: nan would differ from itself.
        key = tuple((v != v, "" if v != v else v) for v in (cell[name] for name in names))
        groups.setdefault(key, []).append(cell)
    return [groups[key] for key in sorted(groups)]


def _profile(cell: _Cell, part: str) -> str:
    name = cell[f"{part}_profile"]
    return f" ({name})" if name else ""


def _seed(cell: _Cell) -> str:
    seed = cell["calibration_seed"]
    return f" (seed {seed:g})" if seed == seed and seed else ""


def perplexity_curves(panels: Sequence[Panel]) -> list[tuple[str, str, Curve]]:
    """(model, kind, curve) of every task where lower is better, with enough points."""
    found = []
    for panel in panels:
        for name, axis, rows, rates in series(panel):
            for task in np.flatnonzero(~panel.higher):
                values = panel.comparable()[rows, task]
                if len(set(rates)) == len(rates) and (
                    np.isfinite(values).sum() >= FEWEST_PERPLEXITIES
                ):
                    title = f"{name}, {panel.tasks[task]} over {axis}"
                    found.append((panel.model, axis, curve(title, rates, values, axis)))
    return found


def perplexity_table(panels: Sequence[Panel]) -> Table:
    """Transitions of a sweep's own perplexity curves, as MPT's are fitted."""
    return transition_table(
        perplexity_curves(panels), name="transitions", caption="Phase transitions of perplexity"
    )


@lru_cache(maxsize=16)
def tolerances(panel: Panel, by: str) -> list[tuple[str, str, list[int], list[float], Tolerance]]:
    """(name, axis, rows, rates, fit) of every retention curve with enough points."""
    sr: Estimate = panel.sr1() if by == "sr1" else panel.sr2()
    found, floor = [], chance_floor(panel, by)
    if floor >= KEPT:
        return []  # a guesser keeps that much: there is no point at which it is lost
    for name, axis, rows, rates in series(panel):
        if len(set(rates)) < max(len(rates), FEWEST):
            continue
        one = fit(rates, sr.value[rows], weights(sr.stderr[rows]), floor=floor)
        if one is not None:
            found.append((name, axis, rows, rates, one))
    return found


def chance_floor(panel: Panel, by: str) -> float:
    """The retention of a model that only guesses: g_t in the place of P_c in eq. 11 or 12.

    A task whose level is unknown, a generative one or a perplexity has 0. Between 0 and 1.
    """
    kept = panel.counted & (panel.higher if by == "sr2" else True)
    level = np.where(panel.higher, np.nan_to_num(panel.levels), 0.0)[kept]
    dense = panel.dense.value[kept]
    if not len(dense) or not (dense > 0).all():
        return 0.0
    kept_by_chance = level.sum() / dense.sum() if by == "sr2" else (level / dense).mean()
    return float(np.clip(kept_by_chance, 0.0, 1.0))


def weights(stderr: Array) -> Array | None:
    """Standard errors as weights of a fit, if every point has one."""
    return stderr if np.isfinite(stderr).all() and (stderr > 0).all() else None


def tolerance_table(panels: Sequence[Panel]) -> Table:
    """How far each line of cells can be compressed before 5 % of retention are gone."""
    rows = [
        {
            "model": panel.model,
            "curve": name,
            "axis": axis,
            "by": NAMES[by],
            "n": one.n,
            "point": one.point,
            "low": one.low,
            "high": one.high,
            "said": _said(one, axis),
            "steepness": one.steepness,
            "floor": one.floor,
        }
        for panel in panels
        for by in ("sr2", "sr1")
        for name, axis, _, _, one in tolerances(panel, by)
    ]
    columns = (
        Column(key="model", title="Model"),
        Column(key="curve", title="Cells"),
        Column(key="axis", title="Over"),
        Column(key="by", title="Retention"),
        Column(key="n", title="Points", form="number", digits=0),
        Column(key="said", title=f"{100 * KEPT:g} % kept up to"),
        Column(key="steepness", title="Steepness k", form="number", digits=1),
        Column(key="floor", title="Floor c", form="number", digits=3),
    )
    notes = (
        "R(s) = c + (1 − c) · ((q − c)/(1 − c))^((s/s_q)^k): 1 at s = 0 and never below c, "
        "what guessing keeps; s is the sparsity, or 1 − bits/16 for a curve over bits, shown "
        "as bits. Interval: F-profile at 95 %; < or > marks an end that the data do not "
        "close.",
    )
    return Table(
        name="tolerances",
        caption="How far compression can go",
        columns=columns,
        rows=pd.DataFrame(rows),
        notes=notes,
    )


def _said(one: Tolerance, axis: str) -> str:
    """The point and its interval in percent of zeros, or in bits from few to many."""
    open_ends = one.open_low, one.open_high
    if axis == "sparsity":
        return f"{said(one.point, one.low, one.high, open_ends)} %"
    few, point, many = (DENSE_BITS * (1 - min(s, 1.0)) for s in (one.high, one.point, one.low))
    few, many = outwards(few, many, 1)
    return f"{point:.1f} ({'<' * one.open_high}{few:.1f} to {'>' * one.open_low}{many:.1f}) bits"
