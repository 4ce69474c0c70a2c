"""The documents on which the best cell of a rate and its rival part, with what each said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.comparison.verdicts import verdicts
from analysis.data.devices import across
from analysis.data.documents import IDENTITY
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.output.table import ACROSS, Column, Table, if_any

MOST = 25  # documents of one task and pair
LONGEST = 200  # characters of an answer
NOTES = (
    f"At most {MOST} documents of each task, in the order of the data set; what a cell said is "
    "the number of its choice, or its answer. Documents that both answered alike are left out.",
)


def disagreement_table(panels: Sequence[Panel]) -> Table:
    """One row per document of a counted task where the two said different things."""
    rows = pd.DataFrame([row for panel in panels for row in _of_panel(panel)])
    columns = (
        Column(key="model", title="Model"),
        Column(key="tcr", title="TCr", form="percent"),
        Column(key="first", title="Best cell"),
        Column(key="second", title="Rival"),
        Column(key="task", title="Task"),
        Column(key="doc_id", title="Document"),
        Column(key="first_said", title="The best said"),
        Column(key="second_said", title="The rival said"),
        Column(key="first_score", title="Its score", form="number"),
        Column(key="second_score", title="The rival's", form="number"),
        *if_any(rows, ACROSS),
    )
    return Table(
        name="disagreements",
        caption="Where the best cell and its rival disagree",
        columns=columns,
        rows=rows,
        notes=NOTES,
    )


def _of_panel(panel: Panel) -> Iterator[dict[str, object]]:
    names = labels(panel)
    for verdict in verdicts(panel):
        if verdict.tcr is None or len(verdict.ranked) < 2:
            continue
        first, second = verdict.ranked[:2]
        head = {
            "model": panel.model,
            "tcr": float(verdict.tcr),
            "first": names[first],
            "second": names[second],
            "across": across(panel.cells, (first, second)),
        }
        yield from ({**head, **row} for row in parted(panel, first, second, most=MOST))


def parted(
    panel: Panel, first: int, second: int, *, most: int | None
) -> Iterator[dict[str, object]]:
    """The documents of counted tasks on which two cells said different things.

    Args:
        panel: a model.
        first: the row of a cell.
        second: the row of another.
        most: of each task at most so many; None: all.
    """
    for task in np.flatnonzero(panel.counted):
        for row in _of_task(panel, first, second, int(task), most):
            yield {"task": panel.tasks[task], **row}


def _of_task(
    panel: Panel, first: int, second: int, task: int, most: int | None
) -> Iterator[dict[str, object]]:
    name, metric = panel.tasks[task], panel.metrics[task]
    mine, theirs = (
        panel.documents.table(str(panel.cells["cell"].iat[row]), name) for row in (first, second)
    )
    if mine is None or theirs is None:
        return
    if not {"prediction", metric} <= set(mine.columns) & set(theirs.columns):
        return
    both = mine.merge(theirs, on=list(IDENTITY), suffixes=("_first", "_second"))
    said = both[["prediction_first", "prediction_second"]].astype(object)
    differ = both[(said.iloc[:, 0] != said.iloc[:, 1]) & said.notna().any(axis=1)]
    for row in differ.iloc[:most].to_dict("records"):
        yield {
            "doc_id": str(row["doc_id"]),
            "first_said": _short(row["prediction_first"]),
            "second_said": _short(row["prediction_second"]),
            "first_score": float(row[f"{metric}_first"]),
            "second_score": float(row[f"{metric}_second"]),
        }


def _short(said: object) -> str:
    text = "" if said is None else str(said)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
