"""Cells whose files take the same bytes: which keeps the most, and which pruning saves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from analysis.comparison.size import TOLERANCE, Rate, groups, sizes, unpruned_bits
from analysis.comparison.size_budget import MOST_COMPARED
from analysis.comparison.verdicts import Verdict, compare
from analysis.data.panel import Panel
from analysis.data.results import REMOVED
from analysis.metrics import Array, Definition

_BY_BYTES = Rate(key="served", title="Size as served")
_NOT_AMONG = f"of the cells of this size the {MOST_COMPARED} best are compared"


@lru_cache(maxsize=8)  # tables, figures and sentences all ask; a panel never changes
def served_bytes(panel: Panel) -> Array:
    """(C,) bytes of each cell's files: as measured, or as formulas say where any was not.

    The two are never mixed, for they count the parts of a file differently. nan where neither is
    known.
    """
    measured = panel.cells["bytes"].to_numpy(float)
    done = (panel.cells["status"] == "done").to_numpy()
    if np.isfinite(measured[done]).all():
        return measured
    return sizes(panel)["bytes_served"].to_numpy(float)


@lru_cache(maxsize=8)
def equal_size(panel: Panel, by: Definition) -> tuple[tuple[float, Verdict], ...]:
    """(bytes of the largest, verdict) of each group of equal size, the largest files first.

    Sizes within `TOLERANCE` of the largest are equal; each group is a family of its own. What a
    label promises is no matter here: files of equal size compete as they are. Of a very large group
    the `MOST_COMPARED` best are compared, the others are left out and said to be.
    """
    size = served_bytes(panel)
    comparable = np.where(np.isfinite(_values(panel, by)), size, np.nan)
    return tuple(
        (float(size[rows[0]]), replace(_best_of(panel, rows, by), size=float(size[rows[0]])))
        for rows in groups(comparable, _BY_BYTES)
    )


def _best_of(panel: Panel, rows: Sequence[int], by: Definition) -> Verdict:
    value = _values(panel, by)
    ranked = sorted(rows, key=lambda row: (-value[row], row))
    found = compare(panel, sorted(ranked[:MOST_COMPARED]), by, nominal=False)
    rest = tuple((row, _NOT_AMONG) for row in ranked[MOST_COMPARED:])
    return replace(found, left_out=(*found.left_out, *rest))


def _values(panel: Panel, by: Definition) -> Array:
    return (panel.sr1() if by == "sr1" else panel.sr2()).value


@dataclass(frozen=True, kw_only=True)
class Unsaved:
    """Pruned cells whose files are as large as without pruning.

    Attributes:
        rows: of the panel.
        like: row of the cell that differs from them by having no pruning, if there is one.
        size: bytes of the largest; nan where it is not known.
    """

    rows: tuple[int, ...]
    like: int | None
    size: float


def unsaved(panel: Panel) -> list[Unsaved]:
    """Where sparsity saves no byte as served: every code is stored, pruned or not.

    A cell counts when its bits per weight are within `TOLERANCE` of those of all codes and scales.
    Removed parameters are not stored, and such cells are never named.
    """
    cells = panel.cells
    if cells["linear_weights"].isna().all() and cells["bits_per_weight"].isna().all():
        return []
    table = sizes(panel)
    whole = np.array([unpruned_bits(cell) for cell in table.to_dict("records")])
    served = table["bits_served"].to_numpy(float)
    pruned = (cells["sparsity"] > 0).to_numpy() & ~cells["pattern"].isin(REMOVED).to_numpy()
    done = (cells["status"] == "done").to_numpy()
    rows = np.flatnonzero(pruned & done & (served >= (1 - TOLERANCE) * whole))
    found: dict[tuple[object, ...], list[int]] = {}
    for row in rows.tolist():
        found.setdefault(_quantization(panel, row), []).append(row)
    return [_one(panel, group) for group in found.values()]


def _one(panel: Panel, rows: Sequence[int]) -> Unsaved:
    size = served_bytes(panel)
    plain = np.flatnonzero((panel.cells["sparsity"] == 0) & (panel.cells["status"] == "done"))
    mine = _quantization(panel, rows[0])
    like = [row for row in plain.tolist() if _quantization(panel, row) == mine]
    return Unsaved(
        rows=tuple(rows), like=like[0] if like else None, size=float(np.max(size[list(rows)]))
    )


def _quantization(panel: Panel, row: int) -> tuple[object, ...]:
    """What decides the size of a cell's codes."""
    one = panel.cells.iloc[row]
    group = float(one["group_size"])
    profile = str(one["quant_profile"])
    return float(one["bits"]), str(one["quant_method"]), profile, group if group == group else 0.0
