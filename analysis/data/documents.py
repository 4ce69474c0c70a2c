"""Scores of single documents, read when they are first asked for.

One table per cell and task, as an evaluation writes it: doc_id, doc_hash, target_hash and
one column per metric (a perplexity has two: `<metric>.sum`, a log-likelihood, and
`<metric>.weight`). `subtask` is optional and names the part of the task a document is from,
`subtask_size` how many documents that part has in all, asked or not, `position` the place of a
document in the order in which they are asked, `cluster` what it shares with others (a passage, a
word), which then count as one in every variance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import BadResults
from analysis.metrics import Array

IDENTITY = ("doc_id", "doc_hash", "target_hash")
SUBTASK = "subtask"
SUBTASK_SIZE = "subtask_size"
POSITION = "position"
CLUSTER = "cluster"
Key = tuple[str, str]
One = Path | pd.DataFrame
Source = One | Mapping[str, One]
"""Of one task: a file or a table, or one for each of its parts."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One task's documents under one cell, in the order of their ids; n documents.

    Attributes:
        identity: (n,) what a document is: its id, its text and its target.
        numerator: (n,) the score, or the log-likelihood of a perplexity.
        weight: (n,) 1, or the words or bytes of a perplexity.
        subtask: (n,) the part of the task that it is from; "" where a task has no parts.
        share: (n,) how much it counts: the part's share of the whole task over its share of these
            documents; 1 where they are asked in proportion, or the sizes are not known.
        cluster: (n,) numbers of what documents share; None where each stands for itself.
        position: (n,) place in the order in which they are asked, from 0; nan where unknown.
    """

    identity: tuple[tuple[object, ...], ...]
    numerator: Array
    weight: Array
    subtask: tuple[str, ...]
    share: Array
    position: Array
    cluster: NDArray[np.int_] | None = None


@dataclass(frozen=True, eq=False)
class Documents:
    """The documents of a sweep by (cell, task); of a benchmark, those of its subtasks.

    Attributes:
        sources: where they are.
        sizes: subtask -> all its documents, asked or not, where that is known.
    """

    sources: Mapping[Key, Source] = field(default_factory=dict)
    sizes: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sources)

    def __iter__(self) -> Iterator[Key]:
        return iter(self.sources)

    def table(self, cell: str, task: str) -> pd.DataFrame | None:
        """Everything known of the documents of one cell and task; None without any.

        Raises:
            BadResults: the file is no parquet table or lacks the identity of a document.
        """
        source = self.sources.get((cell, task))
        if source is None:
            return None
        if isinstance(source, Mapping):
            # in one order whatever theirs, or cells would not be compared document by document
            parts = [_part(self._one(cell, name, source[name]), name) for name in sorted(source)]
            whole = pd.concat(parts, ignore_index=True)
            known = set(source) <= set(self.sizes)
            return whole.assign(**{SUBTASK_SIZE: whole[SUBTASK].map(self.sizes)} if known else {})
        return self._one(cell, task, source)

    @staticmethod
    def _one(cell: str, task: str, source: One) -> pd.DataFrame:
        table = source if isinstance(source, pd.DataFrame) else _read(source)
        if absent := [name for name in IDENTITY if name not in table]:
            raise BadResults(
                f"the documents of {cell}, {task} lack {', '.join(absent)}; "
                f"each needs {', '.join(IDENTITY)}"
            )
        if table["doc_id"].duplicated().any():
            raise BadResults(f"documents of {cell}, {task} appear twice")
        return table.sort_values("doc_id", ignore_index=True)

    def save(self, path: Path) -> None:
        """Write all tables into one parquet file."""
        tables = ((key, self.table(*key)) for key in self.sources)
        rows = [t.assign(cell=key[0], task=key[1]) for key, t in tables if t is not None]
        pd.concat(rows, ignore_index=True).to_parquet(path, index=False)

    @classmethod
    def load(cls, path: Path) -> Documents:
        """Read what `save` wrote; columns that a task does not have are dropped from it."""
        groups = _read(path).groupby(["cell", "task"], sort=False)
        return cls(
            {
                (str(cell), str(task)): part.drop(columns=["cell", "task"]).dropna(
                    axis=1, how="all"
                )
                for (cell, task), part in groups
            }
        )

    def scored(self, cell: str, task: str, metric: str) -> Scored | None:
        """The documents by one metric; None where this metric has no number per document."""
        table = self.table(cell, task)
        return None if table is None else scored(table, metric)


def scored(table: pd.DataFrame, metric: str) -> Scored | None:
    """Documents by one metric; None where this metric has no number per document."""
    columns = _columns(table, metric)
    if columns is None or not len(table):
        return None
    numerator, weight = columns
    if not (np.isfinite(numerator).all() and np.isfinite(weight).all()):
        return None
    return Scored(
        identity=tuple(table[list(IDENTITY)].itertuples(index=False, name=None)),
        numerator=numerator,
        weight=weight,
        subtask=tuple(table[SUBTASK] if SUBTASK in table else [""] * len(table)),
        share=_shares(table),
        position=table[POSITION].to_numpy(float)
        if POSITION in table
        else np.full(len(table), np.nan),
        cluster=_clusters(table),
    )


def _clusters(table: pd.DataFrame) -> NDArray[np.int_] | None:
    """(n,) numbers of clusters, which lie within subtasks; a document without one is its own."""
    if CLUSTER not in table or table[CLUSTER].isna().all():
        return None
    named = table[CLUSTER].where(table[CLUSTER].notna(), table["doc_id"])
    part = table[SUBTASK] if SUBTASK in table else [""] * len(table)
    pairs = pd.MultiIndex.from_arrays([pd.Index(part), pd.Index(named.astype(str))])
    return np.asarray(pd.factorize(pairs)[0], dtype=np.int_)


def _shares(table: pd.DataFrame) -> Array:
    """(n,) what makes a mean over these documents one over all documents of every subtask."""
    if SUBTASK_SIZE not in table or SUBTASK not in table:
        return np.ones(len(table))
    parts = table.groupby(SUBTASK)[SUBTASK_SIZE]
    asked, size = parts.transform("size").to_numpy(float), table[SUBTASK_SIZE].to_numpy(float)
    return np.asarray(size / asked * (len(table) / float(parts.first().sum())))


def _part(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The documents of one subtask, whose ids say so: those of two subtasks may be equal."""
    ids = [f"{name}/{number}" for number in table["doc_id"]]
    return table.assign(**{"doc_id": ids, SUBTASK: name})


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as broken:
        raise BadResults(f"{path} cannot be read as documents: {broken}") from broken


def _columns(table: pd.DataFrame, metric: str) -> tuple[Array, Array] | None:
    parts = (f"{metric}.sum", f"{metric}.weight")
    names = parts if parts[0] in table else (metric,)
    if not all(name in table and pd.api.types.is_numeric_dtype(table[name]) for name in names):
        return None
    values = [table[name].to_numpy(dtype=float) for name in names]
    return values[0], values[1] if len(values) > 1 else np.ones(len(table))
