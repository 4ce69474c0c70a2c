"""How far equal evaluations of one cell are apart: differences below that mean nothing."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.devices import differ
from analysis.data.documents import IDENTITY, Documents
from analysis.data.results import Results, first_of, is_dense
from analysis.output.table import Column, Table, several

Row = Mapping[Hashable, Any]

NOTES = (
    "The same model, documents and settings, scored once more with nothing taken over (a cell "
    "that was made again elsewhere was compressed there too). A difference between two cells that "
    "is no larger than these is none.",
    "Other answers: documents whose prediction is another one. Other scores: documents whose "
    "score, or log-likelihood, is another one.",
)


def noise_table(results: Results) -> Table:
    """One row per rerun of a cell and task: both scores, and how many documents changed."""
    columns = (
        Column(key="model", title="Model"),
        Column(key="label", title="Scored again"),
        Column(key="task", title="Task"),
        Column(key="metric", title="Metric"),
        Column(key="first", title="First", form="estimate"),
        *several("number", 5, again="Again", difference="Difference"),
        *several(
            "number", 0, n="Documents of both", answers="Other answers", scores="Other scores"
        ),
        Column(key="remark", title="Remark"),
    )
    return Table(
        name="noise_floor",
        caption="Noise floor: the same cell scored again",
        columns=columns,
        rows=pd.DataFrame(_rows(results)),
        notes=NOTES,
    )


def _rows(results: Results) -> Iterator[dict[str, object]]:
    cells = results.cells
    dense = {cell["model"]: cell for cell in cells[is_dense(cells)].to_dict("records")}
    by_key = {cell["cell"]: cell for cell in cells.to_dict("records")}
    primary = results.scores[results.scores["primary"].astype(bool)].set_index("cell")
    for again in cells[cells["rerun"] > 0].to_dict("records"):
        head = {"model": again["model"], "label": again["label"]}
        repeats = first_of(again["cell"])
        first = by_key[repeats] if repeats != again["cell"] else dense.get(again["model"])
        if again["status"] != "done" or first is None or first["cell"] not in primary.index:
            said = f"{again['status']}: {again['reason']}".removesuffix(": ")
            lacking = said if again["status"] != "done" else "no dense baseline with scores"
            yield {**head, "remark": lacking}
            continue
        scores = (primary.loc[[cell["cell"]]].set_index("task") for cell in (first, again))
        both = pd.concat(scores, axis=1, keys=("first", "again"), join="inner")
        for task, row in both.iterrows():
            yield {**head, **_compared(results.documents, str(task), row, first, again)}


def _compared(
    documents: Documents, task: str, row: pd.Series, first: Row, again: Row
) -> dict[str, object]:
    metric = row["first", "metric"]
    same = metric == row["again", "metric"]
    changed = _changed(documents, (first["cell"], again["cell"]), task, metric) if same else {}
    elsewhere = differ(again["device"], first["device"])
    return {
        "task": task,
        "metric": metric,
        "first": row["first", "value"],
        "first_stderr": row["first", "stderr"],
        "again": row["again", "value"] if same else np.nan,
        "difference": row["again", "value"] - row["first", "value"] if same else np.nan,
        **changed,
        "remark": f"on {again['device']}, first on {first['device']}" if elsewhere else "",
    }


def _changed(
    documents: Documents, cells: tuple[str, str], task: str, metric: str
) -> dict[str, object]:
    """How many documents both answered, and how many of them otherwise."""
    one, two = (documents.table(cell, task) for cell in cells)
    if one is None or two is None:
        return {}
    both = one.merge(two, on=list(IDENTITY), suffixes=("_first", "_again"))
    score = metric if metric in one else f"{metric}.sum"
    return {
        "n": len(both),
        "answers": _differ(both, "prediction"),
        "scores": _differ(both, score),
    }


def _differ(both: pd.DataFrame, column: str) -> float:
    """Rows in which the two are not the same; nan where neither says anything."""
    names = [f"{column}_first", f"{column}_again"]
    if not set(names) <= set(both.columns) or both[names].isna().all(axis=None):
        return np.nan
    first, again = (both[name].astype(object) for name in names)
    return float(((first != again) & ~(first.isna() & again.isna())).sum())
