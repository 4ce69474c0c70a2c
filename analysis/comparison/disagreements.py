"""The documents on which the best cell of a rate and the runner-up disagree, and their answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.comparison.verdicts import verdicts
from analysis.data.devices import across
from analysis.data.documents import IDENTITY
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.data.questions import Question, Questions
from analysis.output.table import ACROSS, Column, Table, if_any

MOST = 25  # documents of one task and pair
SHOWN = 3  # of them with question and answers as text
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
        Column(key="second", title="Runner-up"),
        Column(key="task", title="Task"),
        Column(key="doc_id", title="Document"),
        Column(key="first_said", title="Best cell's answer"),
        Column(key="second_said", title="Runner-up's answer"),
        Column(key="first_score", title="Best cell's score", form="number"),
        Column(key="second_score", title="Runner-up's score", form="number"),
        *if_any(rows, ACROSS),
    )
    return Table(
        name="disagreements",
        caption="Where the best cell and the runner-up disagree",
        columns=columns,
        rows=rows,
        notes=NOTES,
    )


def disagreement_texts(panels: Sequence[Panel], questions: Questions) -> Table:
    """The first of them as text: the question, both answers and the right one.

    Args:
        panels: one a model.
        questions: what documents ask; those that are not among them are passed over.
    """
    shown = [row for row in _first(panels) if row["doc_hash"] in questions]
    rows = [_as_text(row, questions[str(row["doc_hash"])]) for row in shown]
    columns = (
        Column(key="question", title="Question"),
        Column(key="first_said", title="Best cell's answer"),
        Column(key="second_said", title="Runner-up's answer"),
        Column(key="right", title="Right answer"),
        Column(key="first", title="Best cell"),
        Column(key="second", title="Runner-up"),
        Column(key="tcr", title="TCr", form="percent"),
        Column(key="task", title="Task"),
        Column(key="model", title="Model"),
    )
    return Table(
        name="disagreement_texts",
        caption="Where the best cell and the runner-up disagree: questions and answers",
        columns=columns,
        rows=pd.DataFrame(rows),
        notes=(f"The first {SHOWN} documents of each task; without the examples before them.",),
    )


def asked(panels: Sequence[Panel]) -> dict[str, str]:
    """Hash of each document whose question `disagreement_texts` shows -> its task."""
    return {str(row["doc_hash"]): str(row["task"]) for row in _first(panels)}


def _first(panels: Sequence[Panel]) -> Iterator[dict[str, object]]:
    """The first `SHOWN` documents of each pair and task."""
    seen: Counter[tuple[object, ...]] = Counter()
    for row in (row for panel in panels for row in _of_panel(panel)):
        group = tuple(row[name] for name in ("model", "tcr", "first", "second", "task"))
        seen[group] += 1
        if seen[group] <= SHOWN:
            yield row


def _as_text(row: dict[str, object], question: Question) -> dict[str, object]:
    said = {name: question.answer(str(row[name])) for name in ("first_said", "second_said")}
    return {**row, **said, "question": _short(question.text), "right": question.right}


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
            "doc_hash": str(row["doc_hash"]),
            "first_said": _short(row["prediction_first"]),
            "second_said": _short(row["prediction_second"]),
            "first_score": float(row[f"{metric}_first"]),
            "second_score": float(row[f"{metric}_second"]),
        }


def _short(said: object) -> str:
    text = "" if said is None else str(said)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
