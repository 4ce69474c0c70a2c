"""Scores of other documents than the baseline's: brought to those that all answered, or set apart.

A retention divides two scores of the same documents. Cells of one sweep have them by construction;
scores that were imported, or sweeps that are read together, need not: lm-eval takes the first n of
a data set in its own order, an evaluation here n of a seeded order. What a document is, is its
hash. Where hashes lack, two scores belong together if both sides asked the same share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.documents import IDENTITY, POSITION, Documents, Key
from analysis.data.paired import rescored
from analysis.data.results import Results, is_dense

LEAST_COMMON = 0.5
"""Of fewer of the baseline's documents in common than this share, a score is set apart; not where
all were asked in one order, of which the first so many are a fair sample."""

Identity = frozenset[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What becomes of the primary score of one cell and task.

    Attributes:
        unlike: why it cannot be divided by the baseline's; "" if it can.
        common: what to know where it was taken on fewer documents; "" if nothing.
        value, stderr, n: on these documents.
        documents: those that are left.
    """

    unlike: str = ""
    common: str = ""
    value: float = np.nan
    stderr: float = np.nan
    n: float = np.nan
    documents: pd.DataFrame | None = None


def alike(results: Results) -> Results:
    """The results with every primary score on documents that its baseline answered too.

    Tasks whose cells were all made in one place and asked alike are not looked at.
    """
    changes = dict(_changes(results))
    if not changes:
        return results
    scores = results.scores.copy()
    primary = scores["primary"].astype(bool).to_numpy()
    for at in np.flatnonzero(primary).tolist():
        change = changes.get((str(scores["cell"].iat[at]), str(scores["task"].iat[at])))
        if change is None:
            continue
        scores.loc[at, ["unlike", "common"]] = [change.unlike, change.common]
        if change.common:
            scores.loc[at, ["value", "stderr", "n"]] = [change.value, change.stderr, change.n]
    kept = {key: one.documents for key, one in changes.items() if one.documents is not None}
    documents = replace(results.documents, sources={**results.documents.sources, **kept})
    return replace(results, scores=scores, documents=documents)


def _changes(results: Results) -> Iterator[tuple[Key, Change]]:
    cells = results.cells[results.cells["rerun"] == 0]
    scores = results.scores[results.scores["primary"].astype(bool)]
    scores = scores[~scores["stopped"].astype(bool)]
    for _, own in cells.groupby("model", sort=False):
        dense = own[is_dense(own) & (own["status"] == "done")]["cell"]
        done = own[own["status"] == "done"].set_index("cell")
        if not len(dense):
            continue
        mine = scores[scores["cell"].isin(done.index)]
        for task, rows in mine.groupby("task"):
            if dense.iloc[0] in set(rows["cell"]) and _may_differ(rows, done):
                yield from _of_task(results.documents, str(task), rows, str(dense.iloc[0]))


def _may_differ(rows: pd.DataFrame, cells: pd.DataFrame) -> bool:
    imported = (cells["origin"].reindex(rows["cell"]) != "").any()
    return bool(imported or rows["n"].nunique(dropna=False) > 1 or rows["asked"].nunique() > 1)


def _of_task(
    documents: Documents, task: str, rows: pd.DataFrame, dense: str
) -> Iterator[tuple[Key, Change]]:
    by_cell = {str(row["cell"]): row for row in rows.to_dict("records")}
    tables = {
        cell: table
        for cell in by_cell
        if (table := documents.table(cell, task)) is not None and len(table)
    }
    known = {cell: _identity(table) for cell, table in tables.items()}
    base = known.get(dense)
    ordered = _in_one_order(tables)
    apart = {
        cell: why
        for cell, row in by_cell.items()
        if cell != dense and (why := _apart(row, by_cell[dense], known.get(cell), base, ordered))
    }
    yield from (((cell, task), Change(unlike=why)) for cell, why in apart.items())
    if base is None:
        return
    sharing = {cell: one for cell, one in known.items() if cell not in apart}
    common = frozenset.intersection(*sharing.values())
    if not ordered and len(common) < LEAST_COMMON * len(base):
        for cell, one in sharing.items():
            if one != base:
                yield (cell, task), Change(unlike=_few(one, base))
        return
    if common == base and all(one == base for one in sharing.values()):
        return
    for cell, row in by_cell.items():
        if cell in sharing and sharing[cell] != common:
            yield (cell, task), _on(common, tables[cell], row)
        elif cell not in sharing and cell not in apart and common != base:
            yield (
                (cell, task),
                Change(
                    unlike="which documents it was asked is not known, and the "
                    f"baseline counts {len(common)} of {len(base)}"
                ),
            )


def _identity(table: pd.DataFrame) -> Identity:
    return frozenset(_identified(table))


def _identified(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """What identifies each document."""
    return list(zip(*(table[name].astype(str) for name in IDENTITY), strict=True))


def _in_one_order(tables: Mapping[str, pd.DataFrame]) -> bool:
    """Whether all cells were asked the first documents of one order, some more than others."""
    if not tables or not all(POSITION in table for table in tables.values()):
        return False
    placed = [
        dict(zip(_identified(table), table[POSITION], strict=True)) for table in tables.values()
    ]
    longest = max(placed, key=len)
    return all(one.items() <= longest.items() for one in placed)


def _apart(
    row: Mapping[Any, Any],
    dense: Mapping[Any, Any],
    own: Identity | None,
    base: Identity | None,
    ordered: bool,
) -> str:
    """Why a score has nothing to do with the baseline's; "" if that is not so."""
    if own is not None and base is not None:
        if ordered:
            return ""
        return _few(own, base) if len(own & base) < LEAST_COMMON * len(base) else ""
    mine, theirs = (one["asked"] or "an unknown share of the documents" for one in (row, dense))
    if mine == theirs:
        return ""
    return f"asked {mine}, the baseline {theirs}, and which documents these are is not known"


def _few(own: Identity, base: Identity) -> str:
    return (
        f"other documents than the baseline's: {len(own & base)} of its {len(base)} are among "
        f"these {len(own)}"
    )


def _on(common: Identity, table: pd.DataFrame, row: Mapping[Any, Any]) -> Change:
    """The score of one cell on some of its documents."""
    inside = [one in common for one in _identified(table)]
    left = table[inside].reset_index(drop=True)
    found = rescored(table, left, str(row["metric"]), float(row["value"]))
    if found is None:
        return Change(
            unlike="answered other documents than the baseline, and its score does not "
            "follow from them"
        )
    return Change(
        value=found[0],
        stderr=found[1],
        n=float(len(left)),
        documents=left,
        common=f"on the {len(left)} documents that all cells answered, of its {len(table)}",
    )
