"""Tables II-VII with what the paper prints, and beside it what its own numbers give.

What is printed stays printed: a mean and its standard error are numbers of the paper, not ours.
Where they do not follow from the printed scores, they are marked and the recomputed one stands
beside them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis.output.table import Column, Table
from analysis.published.reference import METHODS, facts, label, sparsity

MARK = "*"
_HALF_DIGIT = 0.05 + 1e-9
"""Half of the last printed digit, in points: further apart is no rounding."""
_KINDS = {"value": "", "std": "_std"}


def as_printed(table: Table, numeral: str) -> Table:
    """A table of published results with its printed numbers, and the recomputed where they differ.

    Args:
        table: as `laborde_tables.score_table` makes it from the published results.
        numeral: which of the paper's tables it is, "II" to "VII".

    Returns:
        The same table. Its rows have the printed numbers, ``<name>_recomputed`` what follows from
        the printed scores, and ``recomputed`` in words where that is another number.
    """
    known = _printed(numeral)
    names = [column.key for column in table.columns if column.form == "number"]
    tasks = [name for name in names if not name.endswith("_std")]
    rows = [_row(row, tasks, known) for row in table.rows.to_dict("records")]
    differ = any(row["recomputed"] for row in rows)
    beside = (Column(key="recomputed", title="Recomputed from the scores"),) if differ else ()
    note = (
        f"{MARK} as printed; it does not follow from the printed scores, and what does stands in "
        "the last column.",
    )
    return replace(
        table,
        columns=(*table.columns, *beside),
        rows=pd.DataFrame(rows),
        notes=(*table.notes, *(note if differ else ())),
    )


_Key = tuple[str, str, str]
"""Model, cell and task."""


def _printed(numeral: str) -> dict[_Key, Mapping[Hashable, Any]]:
    """The printed scores of a table by what they are of."""
    return {
        (str(one["model"]), _cell(one), str(one["task"])): one
        for one in facts("laborde2025", numeral).to_dict("records")
    }


def _cell(one: Mapping[Hashable, Any]) -> str:
    amount = sparsity(one["sparsity_pct"])
    method = METHODS[str(one["method_quant"])]
    return label(amount, str(one["pattern"]) if amount else "", method, float(one["bits"]))


def _row(
    row: Mapping[Hashable, Any], tasks: list[str], known: Mapping[_Key, Mapping[Hashable, Any]]
) -> dict[str, Any]:
    shown, said = {str(k): v for k, v in row.items()}, []
    for task in tasks:
        printed = known.get((str(row["model"]), str(row["label"]), task))
        if printed is None:
            continue
        for kind, suffix in _KINDS.items():
            name = f"{task}{suffix}"
            ours, theirs = float(shown[name]), float(printed[kind])
            if ours != ours or theirs != theirs:
                continue
            shown[name], shown[f"{name}_recomputed"] = theirs, ours
            if abs(ours - theirs) > _HALF_DIGIT:
                shown[f"{name}_mark"] = MARK
                said.append(f"{task}{' Std' if suffix else ''} {ours:.1f}")
    return {**shown, "recomputed": ", ".join(said)}
