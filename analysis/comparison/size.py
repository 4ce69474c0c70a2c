"""Equal compression three ways: by TCr, by whole-model rate, and by the size that it really takes.

For each rate: who competes with whom, which cells cannot be told from the best, and the
Pareto front of retention against size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.comparison.storage_bits import (
    best_mask_bits,
    bitmask_bits,
    code_entropy,
    effective_bits,
    group_bits,
    hardware_bits,
    whole_bytes,
)
from analysis.comparison.summary import summarise
from analysis.comparison.verdicts import Verdict, compare
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.data.results import REMOVED
from analysis.metrics import DENSE_BITS, Array, Definition
from analysis.output.table import ACROSS, OWN_SEED, Column, Table, if_any
from analysis.output.text import NAMES

TOLERANCE = 0.01
"""Sizes this close (relative) count as equal."""

MOST_GROUPED = 300

RateName = Literal["tcr", "whole_tcr", "served", "bitmask", "best_mask", "entropy"]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """One way to say how small a cell is.

    Attributes:
        key: the column of `sizes` that holds it, as a share of the dense model (1 - TCr).
        title: for people.
        exact: whether equal means exactly equal, as for TCr, or within TOLERANCE.
    """

    key: RateName
    title: str
    exact: bool = False


RATES = (
    Rate(key="tcr", title="TCr", exact=True),
    Rate(key="whole_tcr", title="whole-model rate", exact=True),
    Rate(key="served", title="size as served"),
    Rate(key="bitmask", title="size with a bitmask"),
    Rate(key="best_mask", title="size with the best mask"),
    Rate(key="entropy", title="entropy bound"),
)


def sizes(panel: Panel) -> pd.DataFrame:
    """One row per cell: bits per linear weight under each accounting, and shares of the dense size.

    `bits_served`: as the files of today's servers hold it: every code is stored, pruned or
    not, with its scales (measured where the checkpoint was); an unquantized 2:4 cell is
    stored sparse. `bits_bitmask`, `bits_best_mask` (log2 C(m, n) / m, or the mask's entropy),
    `bits_hardware` (2:4 only) store the kept codes beside a mask. `bits_entropy` bounds what
    any order-0 code of codes and zeros takes. `share_<rate>` is the size of the whole model over
    that of the dense one. A measured cell whose mask was ignored has no zeros to leave out.
    """
    table = summarise([panel])
    rows = pd.DataFrame([_bits(cell) for cell in table.to_dict("records")])
    linear = table["linear_weights"].to_numpy(float)
    total = table["total_weights"].to_numpy(float)
    dense = DENSE_BITS * total / 8
    shares = {"share_tcr": 1 - table["tcr"], "share_whole_tcr": 1 - table["whole_tcr"]}
    for name in ("served", "bitmask", "best_mask", "entropy"):
        size = pd.Series(whole_bytes(rows[f"bits_{name}"].to_numpy(float), linear, total))
        rows[f"bytes_{name}"], shares[f"share_{name}"] = size, size / dense
    return pd.concat([table, rows, pd.DataFrame(shares)], axis=1)


def _bits(cell: dict[Any, Any]) -> dict[str, float]:
    bits = float(cell["bits"])
    known = cell["achieved_sparsity"]
    sparsity = float(known) if known == known else float(cell["sparsity"])
    if cell["mask"] == "ignore" and known == known:
        sparsity = 0.0
    if cell["pattern"] in REMOVED:
        return _bits_left(cell, bits * (1 - sparsity), 1 - sparsity)
    pattern = str(cell["pattern"]) if sparsity else ""
    group = _overhead(cell, 1.0)
    stored = cell["stored_bits"]
    served = float(stored) if stored == stored else bits + group
    if bits == DENSE_BITS and pattern == "2:4" and stored != stored:
        served = effective_bits(bits, sparsity, hardware_bits(pattern), 0.0)

    def with_mask(mask: float) -> float:
        # Where a mask costs more than it saves, nobody would store one.
        return min(effective_bits(bits, sparsity, mask, group), bits + group)

    bound = cell["entropy_bits"]
    size = cell["group_size"] if cell["group_size"] > 0 else 128
    return {
        "bits_served": served,
        "bits_bitmask": with_mask(bitmask_bits(sparsity)),
        "bits_best_mask": with_mask(best_mask_bits(sparsity, pattern)),
        "bits_hardware": effective_bits(bits, sparsity, hardware_bits(pattern), group),
        "bits_entropy": float(bound)
        if bound == bound
        else code_entropy(bits, round(sparsity, 4), float(size)) + group,
    }


def _bits_left(cell: dict[Any, Any], codes: float, kept: float) -> dict[str, float]:
    """Bits per weight of the dense model where weights are not there: nothing marks them."""
    stored, bound = cell["stored_bits"], cell["entropy_bits"]
    bits = codes + _overhead(cell, kept)
    served = float(stored) if stored == stored else bits
    entropy = float(bound) if bound == bound else bits
    named = {"served": served, "bitmask": bits, "best_mask": bits, "entropy": entropy}
    return {f"bits_{name}": value for name, value in named.items()} | {"bits_hardware": np.nan}


def unpruned_bits(cell: dict[Any, Any]) -> float:
    """Bits per linear weight with every code stored and its scales: what pruning could save of."""
    return float(cell["bits"]) + _overhead(cell, 1.0)


def _overhead(cell: dict[Any, Any], kept: float) -> float:
    """Scales and zero points per weight of the dense model, of which a share ``kept`` is there.

    Numbers that were published without them are counted as 16 bits a group (symmetric), of NF4
    32 bits per 64 weights, of LLM.int8 32 per row of 4,096.
    """
    if cell["bits"] == DENSE_BITS:
        return 0.0
    if (known := cell["scale_bits"]) == known:
        return float(known)
    if cell["group_size"] > 0:
        return kept * group_bits(cell["group_size"], cell["bits"])
    return kept * {"nf4": 32 / 64, "llm_int8": 32 / 4096}.get(str(cell["quant_method"]), 0.0)


def groups(share: Array, rate: Rate) -> list[list[int]]:
    """Rows of equal rate, smallest size last; only groups of two or more."""
    found: list[list[int]] = []
    slack = 1e-9 if rate.exact else TOLERANCE
    for row in sorted(np.flatnonzero(np.isfinite(share)), key=lambda r: -share[r]):
        if found and share[found[-1][0]] - share[row] <= slack * share[found[-1][0]]:
            found[-1].append(int(row))
        else:
            found.append([int(row)])
    return [group for group in found if len(group) > 1]


def front(share: Array, value: Array) -> list[int]:
    """Rows on the Pareto front: nothing is at most as large and keeps more, or smaller and as much.

    Largest first.
    """
    rows = [int(r) for r in np.flatnonzero(np.isfinite(share) & np.isfinite(value))]
    best, kept = -np.inf, []
    for row in sorted(rows, key=lambda r: (share[r], -value[r])):
        if value[row] > best:
            best = value[row]
            kept.append(row)
    return kept[::-1]


def sizes_table(panels: Sequence[Panel], by: Definition = "sr2") -> Table:
    """Every cell under every accounting, with the fronts that it is on."""
    frame = pd.concat([_with_fronts(panel, by) for panel in panels], ignore_index=True)
    columns = (
        Column(key="model", title="Model"),
        Column(key="name", title="Cell"),
        Column(key="tcr", title="TCr", form="percent"),
        Column(key="whole_tcr", title="Whole-model TCr", form="percent", digits=2),
        *(
            Column(key=f"bits_{key}", title=title, form="number", digits=3)
            for key, title in (
                ("served", "Bits as served"),
                ("bitmask", "Bits, bitmask"),
                ("best_mask", "Bits, best mask"),
                ("hardware", "Bits, 2:4 hardware"),
                ("entropy", "Bits, entropy bound"),
            )
        ),
        Column(key="bytes_served", title="MB as served", form="megabytes", digits=0),
        Column(key="bytes_bitmask", title="MB, bitmask", form="megabytes", digits=0),
        Column(key=by, title=NAMES[by], form="estimate"),
        Column(key="fronts", title="On the front by"),
    )
    return Table(
        name=f"sizes_{by}",
        caption=f"Sizes and {NAMES[by]}",
        columns=columns,
        rows=frame,
        notes=(_NOTE,),
        definition=by,
    )


_NOTE = (
    "Bits are per linear weight; embeddings, head and norms stay at 16 bit. As served: every code "
    "is stored with its scales, as pack-quantized and GPTQ files do; zeros of pruning save nothing "
    "there. With a mask: kept codes, scales and the mask (1 bit; or log2 C(m, n) / m for n:m, the "
    "mask's entropy for unstructured), never more than without. The entropy bound covers codes "
    "and zeros of every cell alike (measured, else Gaussian weights). Not measured sizes follow "
    "from the formulas, with the scales and zero points that the method writes; of published "
    "cells, symmetric grids with 16-bit scales, NF4 with 32 bits per 64 weights. A published "
    "joint cell is counted as if its mask had been kept."
)


def _with_fronts(panel: Panel, by: Definition) -> pd.DataFrame:
    table = sizes(panel).assign(name=labels(panel))
    on: list[list[str]] = [[] for _ in range(len(table))]
    for rate in RATES:
        for row in front(table[f"share_{rate.key}"].to_numpy(float), table[by].to_numpy(float)):
            on[row].append(rate.title)
    table["fronts"] = [", ".join(names) for names in on]
    return table


def size_tables(panels: Sequence[Panel]) -> list[Table]:
    """What a report says of real sizes: by Sr2, without the rates that its other tables have.

    Empty when nothing is known of the models' weights; groups of equal size are left out where
    there are more cells than MOST_GROUPED (`isorate reproduce only=sizes` has them all).
    """
    real = [rate for rate in RATES if not rate.exact]
    cells = sum(len(panel.cells) for panel in panels)
    if all(panel.cells["linear_weights"].isna().all() for panel in panels):
        return []
    grouped = [equal_size_table(panels, rates=real)] if cells <= MOST_GROUPED else []
    return [table for table in (*grouped, sizes_table(panels)) if len(table.rows)]


def equal_size_table(
    panels: Sequence[Panel], by: Definition = "sr2", rates: Sequence[Rate] = RATES
) -> Table:
    """Groups at equal rate under each accounting, each with the set that may be best."""
    rows = [row for panel in panels for row in _grouped(panel, rates, by)]
    frame = pd.DataFrame(rows, columns=_EQUAL)
    columns = (
        Column(key="model", title="Model"),
        Column(key="rate", title="Equal by"),
        Column(key="size", title="Size, % of dense", form="percent", digits=2),
        Column(key="label", title="Cell"),
        Column(key="sr", title=NAMES[by], form="estimate"),
        Column(key="difference", title="Below the best (95 % CI)", form="difference"),
        Column(key="p", title="p (Holm)", form="p"),
        Column(key="verdict", title="Verdict"),
        *if_any(frame, ACROSS),
    )
    notes = (
        f"Sizes within {TOLERANCE:.0%} count as equal, rates only if they are. Each group is a "
        "family of its own (Holm, 5 %). For one model the whole-model rate is TCr times a "
        "constant, so its groups are those of TCr. " + _NOTE,
    )
    return Table(
        name=f"equal_size_{by}",
        caption=f"Cells at equal compression, by {NAMES[by]}",
        columns=columns,
        rows=frame,
        notes=notes,
        definition=by,
    )


_EQUAL = [
    *("model", "rate", "group", "size", "cell", "label", "sr", "sr_stderr"),
    *("difference", "difference_low", "difference_high", "z", "p", "verdict", "across"),
]


def _grouped(panel: Panel, rates: Sequence[Rate], by: Definition) -> Iterator[dict[str, object]]:
    table, names = sizes(panel), labels(panel)
    for rate in rates:
        share = table[f"share_{rate.key}"].to_numpy(float)
        for number, rows in enumerate(groups(share, rate)):
            verdict = compare(panel, rows, by, nominal=rate.exact)
            pairs = {pair.second: pair for pair in verdict.pairs}
            for row in verdict.ranked:
                pair = pairs.get(row)
                yield {
                    "model": panel.model,
                    "rate": rate.title,
                    "group": number,
                    "size": share[row],
                    "cell": panel.cells["cell"].iat[row],
                    "label": names[row],
                    "sr": table[by].iat[row],
                    "sr_stderr": table[f"{by}_stderr"].iat[row],
                    "difference": pair.difference if pair else np.nan,
                    "difference_low": pair.interval.low if pair else np.nan,
                    "difference_high": pair.interval.high if pair else np.nan,
                    "z": pair.z if pair else np.nan,
                    "p": pair.p if pair else np.nan,
                    "verdict": _standing(verdict, row),
                    "across": pairs[row].across if row in pairs else "",
                }


def _standing(verdict: Verdict, row: int) -> str:
    if row in verdict.own:
        return OWN_SEED
    if row not in verdict.best:
        return "worse"
    if not verdict.pairs:
        return "nothing to compare"
    if verdict.decided:
        return "best"
    return "not significantly below the best" if row != verdict.ranked[0] else "highest, undecided"
