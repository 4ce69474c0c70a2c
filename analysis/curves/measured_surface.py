"""The joint surfaces of a sweep: perplexity over sparsity for each bit-width, and their fronts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from analysis.comparison.size import sizes
from analysis.data.panel import Panel
from analysis.data.results import REMOVED
from analysis.metrics import DENSE_BITS
from analysis.output.table import Table
from analysis.published.mpt_surface import BITMASK, Surface, budget_rows, budget_table

_KIND = ("prune_method", "prune_profile", "quant_method")
FEWEST = 3  # sparsities that a bit-width needs to be a line of a surface


@lru_cache(maxsize=8)
def surfaces(panel: Panel) -> tuple[Surface, ...]:
    """One for each pair of methods and each perplexity task with two bit-widths or more.

    Sparsity that is spread otherwise is another method. The line of a bit-width begins with the
    unpruned cell where there is one. Cells whose mask was ignored are not of the size that a
    budget means, and are left out; so is a line on which two cells share a sparsity (seeds, say).
    """
    return tuple(_surfaces(panel))


def _surfaces(panel: Panel) -> Iterator[Surface]:
    cells = sizes(panel).assign(row=np.arange(len(panel.cells)))
    cells = cells[(cells["status"] == "done") & (cells["mask"] != "ignore")]
    cells = cells[cells["pattern"].isin(("", "unstructured", *REMOVED))]
    joint = cells[(cells["sparsity"] > 0) & (cells["bits"] < DENSE_BITS)]
    joint = joint[joint["quant_profile"] == ""]
    kinds = sorted(set(zip(*(joint[name] for name in _KIND), strict=True)))
    for task in np.flatnonzero(~panel.higher):
        scored = cells.assign(value=panel.comparable()[cells["row"], task])
        scored = scored[np.isfinite(scored["value"])]
        for prune, profile, quant in kinds:
            spread = f" ({profile})" if profile else ""
            name = f"{prune}{spread} + {quant}, {panel.tasks[task]}"
            found = _surface(scored, prune, profile, quant, name)
            if len(found.bits) > 1:
                yield found


def _surface(cells: pd.DataFrame, prune: str, profile: str, quant: str, name: str) -> Surface:
    unpruned = cells["prune_method"] == ""
    pruned = (cells["prune_method"] == prune) & (cells["prune_profile"] == profile)
    quantized = cells["quant_method"].isin(("", quant)) & (cells["quant_profile"] == "")
    mine = cells[(unpruned | pruned) & quantized]
    each = {float(b): mine[mine["bits"] == b] for b in set(mine["bits"].to_numpy(float))}
    lines = {b: line for b, line in each.items() if _is_line(line)}
    bits = tuple(sorted(lines, reverse=True))
    ordered = {b: lines[b].sort_values("sparsity") for b in bits}
    return Surface(
        table=name,
        bits=bits,
        ratio={b: _ratio(b, ordered[b]) for b in bits},
        s={b: ordered[b]["sparsity"].to_numpy(float) for b in bits},
        value={b: ordered[b]["value"].to_numpy(float) for b in bits},
    )


def _is_line(cells: pd.DataFrame) -> bool:
    return len(cells) >= FEWEST and not cells["sparsity"].duplicated().any()


def _ratio(bits: float, line: pd.DataFrame) -> float:
    """Relative size of the linear weights at these bits, unpruned: as measured, scales included."""
    unpruned = line.loc[line["sparsity"] == 0, "bits_served"].to_numpy(float)
    return float(unpruned[0] if len(unpruned) else bits) / DENSE_BITS


def budget_tables(panels: Sequence[Panel]) -> Table:
    """The least perplexity at equal budget, for every surface of a sweep."""
    rows = [
        {"model": panel.model, "cells": data.table, **row}
        for panel in panels
        for data in surfaces(panel)
        for row in budget_rows(data, masks=_masks(panel, data))
    ]
    return budget_table(
        rows,
        name="budget_fronts",
        caption="Least perplexity at equal budget",
        heads={"model": "Model", "cells": "Methods and task"},
    )


def _masks(panel: Panel, data: Surface) -> dict[str, float]:
    """What a mask costs: parameters that are removed need none."""
    method = data.table.split(" + ")[0].split(" (")[0]
    patterns = panel.cells.loc[panel.cells["prune_method"] == method, "pattern"]
    if patterns.isin(REMOVED).all():
        return {"none is needed": 0.0}
    return {"none, as in MPT": 0.0, "1 bit a weight": BITMASK}
