"""Any two cells that a reader asks for, task by task and document by document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.comparison.disagreements import parted
from analysis.comparison.per_task import GROWN, pair_rows
from analysis.comparison.verdicts import ALPHA
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.errors import NotComparable
from analysis.output.table import ACROSS, Column, Table, if_any, several
from analysis.statistics.holm import holm

Asked = tuple[Panel, int, int]
"""A model, and the rows of the two cells in it."""

NOTES = (
    "Other answer: documents where the two chose or said different things; a perplexity has none. "
    "Right-or-wrong tasks: McNemar's exact test over the documents that only one of the two got "
    "right; other scores: z test of the paired difference. Family: all tasks of this pair, "
    "Holm's correction at 5 %.",
)


def asked(panels: Sequence[Panel], names: Sequence[str]) -> list[Asked]:
    """The two cells of these names (labels as the report writes them, or keys), in every model.

    Raises:
        NotComparable: not two names, no model has both, or a name means several cells.
    """
    if len(names) != 2 or names[0] == names[1]:
        raise NotComparable(f"two cells are needed, got {len(set(names))}", _all(panels))
    found = []
    for panel in panels:
        rows = [_rows(panel, name) for name in names]
        for name, matching in zip(names, rows, strict=True):
            if len(matching) > 1:
                keys = [str(panel.cells["cell"].iat[row]) for row in matching]
                raise NotComparable(f"{name!r} means {len(matching)} cells", keys)
        if all(rows):
            found.append((panel, rows[0][0], rows[1][0]))
    if not found:
        unknown = [name for name in names if not any(_rows(panel, name) for panel in panels)]
        why = f"no cell is called {unknown[0]!r}" if unknown else "no model has both"
        raise NotComparable(why, _all(panels))
    return found


def compared_table(pairs: Sequence[Asked]) -> Table:
    """One row per task whose documents both answered: who scored more, and how surely.

    Raises:
        NotComparable: the two share no documents.
    """
    rows = [row for pair in pairs for row in _of_pair(*pair)]
    if not rows:
        raise NotComparable("these two cells have no scores of the same documents")
    frame = pd.DataFrame(rows)
    columns = (
        Column(key="model", title="Model"),
        Column(key="first", title="Cell"),
        Column(key="second", title="Other"),
        Column(key="task", title="Task"),
        Column(key="first_value", title="Score", form="number"),
        Column(key="second_value", title="Other's", form="number"),
        Column(key="difference", title="Difference", form="estimate"),
        Column(key="p", title="p (Holm)", form="p"),
        Column(key="verdict", title="Better"),
        *several(
            "number",
            0,
            n="Documents",
            differ="Other answer",
            only_first="Only it right",
            only_second="Only other right",
        ),
        *if_any(frame, ACROSS),
    )
    return Table(
        name="compared",
        caption="The two cells that were asked for, task by task",
        columns=columns,
        rows=frame,
        notes=(*NOTES, *((GROWN,) if any(any(p.looks) for p, *_ in pairs) else ())),
    )


def parting_table(pairs: Sequence[Asked]) -> Table:
    """One row per document on which the two said different things; all of them."""
    rows = [
        {
            "model": panel.model,
            "first": labels(panel)[first],
            "second": labels(panel)[second],
            **row,
        }
        for panel, first, second in pairs
        for row in parted(panel, first, second, most=None)
    ]
    columns = (
        Column(key="model", title="Model"),
        Column(key="first", title="Cell"),
        Column(key="second", title="Other"),
        Column(key="task", title="Task"),
        Column(key="doc_id", title="Document"),
        Column(key="first_said", title="The cell said"),
        Column(key="second_said", title="The other said"),
        *several("number", 3, first_score="Its score", second_score="The other's"),
    )
    return Table(
        name="parting",
        caption="Where the two cells that were asked for disagree",
        columns=columns,
        rows=pd.DataFrame(rows),
    )


def _of_pair(panel: Panel, first: int, second: int) -> Iterator[dict[str, object]]:
    names, rows = labels(panel), list(pair_rows(panel, first, second))
    differ = pd.Series([row["task"] for row in parted(panel, first, second, most=None)], dtype=str)
    said = {task for task in panel.tasks if _answers(panel, (first, second), task)}
    adjusted = holm(np.array([row["raw"] for row in rows], dtype=float))
    for row, p in zip(rows, adjusted, strict=True):
        task = str(row["task"])
        at = panel.tasks.index(task)
        ahead = names[first] if row.pop("ahead") else names[second]
        row |= {
            "first": names[first],
            "p": p,
            "verdict": ahead if p <= ALPHA else "undecided",
            "first_value": panel.value[first, at],
            "second_value": panel.value[second, at],
            "differ": int((differ == task).sum()) if task in said else None,
        }
        yield row


def _answers(panel: Panel, pair: Sequence[int], task: str) -> bool:
    """Whether it is known what both said."""
    tables = [panel.documents.table(str(panel.cells["cell"].iat[row]), task) for row in pair]
    return all(
        t is not None and "prediction" in t and t["prediction"].notna().any() for t in tables
    )


def _rows(panel: Panel, name: str) -> list[int]:
    """The rows that a name means: one full label or key, else all of that short label."""
    full = [i for i, known in enumerate(labels(panel)) if known == name]
    full += [i for i, key in enumerate(panel.cells["cell"]) if key == name]
    return full or [i for i, label in enumerate(panel.cells["label"]) if label == name]


def _all(panels: Sequence[Panel]) -> list[str]:
    return list(dict.fromkeys(name for panel in panels for name in labels(panel)))
