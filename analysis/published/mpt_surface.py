"""Pruning and quantization together: the surface of MPT's tables 9 and 10 and its best path.

At one budget, the relative size of the compressed weights, several pairs of sparsity and
bits compete; the front is the pair with the least perplexity at each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.interpolate import PchipInterpolator

from analysis.metrics import DENSE_BITS, Array
from analysis.output.table import Column, Table
from analysis.published.misprints import size_ratio
from analysis.published.reference import facts, sparsity
from analysis.statistics.perplexity_transition import POWER, Fit, curve, fit

TITLES = {"9": "SparseGPT + GPTQ", "10": "Wanda + GGUF"}
BUDGETS = (0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1)
BITMASK = 1 / DENSE_BITS  # one bit per weight, as a share of a dense weight


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Perplexity over sparsity for each bit-width of one joint table.

    Attributes:
        table: of MPT; of a sweep its methods and its task.
        bits: from many to few.
        ratio: bits -> relative size of the unpruned model at these bits, as the table's
            own sizes give it (the median row, so a misprinted one has no say).
        s: bits -> (n,) sparsities.
        value: bits -> (n,) perplexities.
    """

    table: str
    bits: tuple[float, ...]
    ratio: Mapping[float, float]
    s: Mapping[float, Array]
    value: Mapping[float, Array]

    def log_value(self, bits: float, s: Array) -> Array:
        """Log perplexity between the measured sparsities (monotone cubic); nan outside."""
        inside = PchipInterpolator(self.s[bits], np.log(self.value[bits]), extrapolate=False)
        return np.asarray(inside(s))

    def transition(self, bits: float) -> Fit | None:
        """The break of one bit-width's curve by the published form, k2 = 0."""
        return fit(curve(f"{self.table}/{bits:g}", self.s[bits], self.value[bits]), POWER)


@lru_cache(maxsize=2)
def surface(table: str) -> Surface:
    """Table 9 or 10 of MPT; the two stem from different evaluations and never mix."""
    printed = facts("mpt", table)
    bits = tuple(sorted({float(b) for b in printed["bits"]}, reverse=True))
    parts = {b: printed[printed["bits"] == b].sort_values("sparsity_pct") for b in bits}
    return Surface(
        table=table,
        bits=bits,
        ratio=size_ratio(table),
        s={b: np.array([sparsity(p) for p in part["sparsity_pct"]]) for b, part in parts.items()},
        value={b: part["value"].to_numpy(dtype=float) for b, part in parts.items()},
    )


def front(data: Surface, *, mask: float = 0.0, steps: int = 60) -> pd.DataFrame:
    """The best pair of sparsity and bits within each budget.

    Args:
        data: the surface.
        mask: what the mask of a pruned weight costs, as a share of a dense weight: 0 as
            MPT's budgets have it, `BITMASK` for one bit.
        steps: budgets from the smallest to the largest one that two bit-widths reach.

    Returns:
        budget, bits, sparsity, ppl of the best pair, and of the best pair with other bits:
        second_bits, second_ppl. Budgets that only one bit-width reaches are left out.
    """
    reach = sorted(size for b in data.bits for size in _reach(data, b, mask))
    rows = []
    for budget in np.geomspace(reach[0], reach[-1], steps):
        ranked = sorted(_at(data, budget, mask))
        if len(ranked) > 1:
            (best, bits, s), (other, other_bits, _) = ranked[:2]
            rows.append(
                {
                    "budget": budget,
                    "bits": bits,
                    "sparsity": s,
                    "ppl": np.exp(best),
                    "second_bits": other_bits,
                    "second_ppl": np.exp(other),
                }
            )
    return pd.DataFrame(rows)


def _reach(data: Surface, bits: float, mask: float) -> tuple[float, float]:
    s = data.s[bits]
    return _size(data, bits, float(s[-1]), mask), _size(data, bits, float(s[0]), mask)


def _at(data: Surface, budget: float, mask: float) -> list[tuple[float, float, float]]:
    """(log perplexity, bits, sparsity) of every bit-width at the least sparsity that fits.

    An unpruned model pays for no mask; a sparsity below the least measured one is not used.
    """
    found = []
    for bits in data.bits:
        fits_whole = budget >= data.ratio[bits] * (1 - 1e-9)
        needed = 0.0 if fits_whole else 1 - (budget - mask) / data.ratio[bits]
        s = max(needed, float(data.s[bits][0]))
        if s < 1 and _size(data, bits, s, mask) <= budget * (1 + 1e-9):
            value = float(data.log_value(bits, np.array([s]))[0])
            found += [(value, bits, s)] if np.isfinite(value) else []
    return found


def _size(data: Surface, bits: float, s: float, mask: float) -> float:
    return (1 - s) * data.ratio[bits] + mask * (s > 0)


def front_table(table: str) -> Table:
    """The best measured-range pair at round budgets, without and with the cost of a mask."""
    masks = {"none, as in MPT": 0.0, "1 bit a weight": BITMASK}
    return budget_table(
        budget_rows(surface(table), masks=masks),
        name=f"mpt_front_{table}",
        caption=f"Least perplexity at equal budget, {TITLES[table]} (MPT table {table})",
    )


def budget_rows(data: Surface, *, masks: Mapping[str, float]) -> list[dict[str, object]]:
    """The best pair, and the best one with other bits, at round budgets for each kind of mask."""
    rows: list[dict[str, object]] = []
    for kind, mask in masks.items():
        for budget in BUDGETS:
            ranked = sorted(_at(data, budget, mask))
            if len(ranked) < 2:
                continue
            (best, bits, s), (other, other_bits, _) = ranked[:2]
            rows.append(
                {
                    "mask": kind,
                    "budget": budget,
                    "bits": f"{bits:g}",
                    "sparsity": s,
                    "ppl": float(np.exp(best)),
                    "second": f"{other_bits:g}",
                    "second_ppl": float(np.exp(other)),
                    "transition": _safe(data, bits, s),
                }
            )
    return rows


def budget_table(
    rows: Sequence[Mapping[str, object]],
    *,
    name: str,
    caption: str,
    heads: Mapping[str, str] | None = None,
) -> Table:
    """Rows of `budget_rows` as a table; ``heads`` are columns before theirs."""
    columns = (
        *(Column(key=key, title=title) for key, title in (heads or {}).items()),
        Column(key="mask", title="Mask"),
        Column(key="budget", title="Budget", form="percent"),
        Column(key="bits", title="Bits"),
        Column(key="sparsity", title="Sparsity", form="percent", digits=1),
        Column(key="ppl", title="Perplexity", form="number", digits=2),
        Column(key="second", title="Next best bits"),
        Column(key="second_ppl", title="Its perplexity", form="number", digits=2),
        Column(key="transition", title="Transition of these bits"),
    )
    notes = (
        "Perplexity between measured sparsities by monotone cubic interpolation of its "
        "logarithm; nothing is extrapolated. Budgets are sizes of the compressed weights "
        "over 16 bit, by each column's median size.",
    )
    return Table(name=name, caption=caption, columns=columns, rows=pd.DataFrame(rows), notes=notes)


def _safe(data: Surface, bits: float, s: float) -> str:
    one = data.transition(bits)
    if one is None or not np.isfinite(one.low):
        return "unknown"
    if s < one.low:
        return "before it"
    return "beyond it" if s > one.high else "within its interval"
