"""Which tasks a difference comes from: exact tests document by document, task by task."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.comparison.verdicts import ALPHA, Verdict, verdicts
from analysis.data.devices import across
from analysis.data.labels import labels
from analysis.data.paired import Sample, mcnemar
from analysis.data.panel import Panel
from analysis.metrics import Rows
from analysis.output.table import ACROSS, Column, Table, if_any
from analysis.statistics.holm import holm
from analysis.statistics.sequential import EXPECTED_SPREAD, mixture_p, mixture_rho

NOTES = (
    "Family: all tasks of all pairs of one model at one TCr, Holm's correction at 5 %; only "
    "pairs that answered the same documents.",
    "Right-or-wrong tasks: McNemar's exact test over the documents that only one of the two got "
    "right. Other scores: z test of the paired difference.",
)
GROWN = (
    "Where documents were added to a task after an earlier look: a test of the paired difference "
    "that holds at all looks (normal mixture)."
)


def notes(panels: Sequence[Panel]) -> tuple[str, ...]:
    """What the tests are."""
    return (*NOTES, GROWN) if any(any(panel.looks) for panel in panels) else NOTES


def per_task_table(panels: Sequence[Panel]) -> Table:
    """The best cell of each TCr against each other one, on every task by itself."""
    rows = [
        row for panel in panels for verdict in verdicts(panel) for row in _of_group(panel, verdict)
    ]
    frame = pd.DataFrame(rows)
    columns = (
        Column(key="model", title="Model"),
        Column(key="tcr", title="TCr", form="percent"),
        Column(key="first", title="Best cell"),
        Column(key="second", title="against"),
        Column(key="task", title="Task"),
        Column(key="n", title="Documents", form="number", digits=0),
        Column(key="difference", title="Difference", form="estimate"),
        Column(key="only_first", title="Only the best right", form="number", digits=0),
        Column(key="only_second", title="Only the other right", form="number", digits=0),
        Column(key="p", title="p (Holm)", form="p"),
        Column(key="verdict", title="Verdict"),
        *if_any(frame, ACROSS),
    )
    return Table(
        name="per_task",
        caption="Task by task, document by document",
        columns=columns,
        rows=frame,
        notes=notes(panels),
    )


def _of_group(panel: Panel, verdict: Verdict) -> list[dict[str, object]]:
    rows = [row for pair in verdict.pairs for row in pair_rows(panel, pair.first, pair.second)]
    names, adjusted = labels(panel), holm(np.array([row["raw"] for row in rows], dtype=float))
    for row, p in zip(rows, adjusted, strict=True):
        ahead = "best cell better" if row.pop("ahead") else "other better"
        row |= {
            "tcr": float(verdict.tcr or 0),
            "p": p,
            "first": names[verdict.ranked[0]],
            "verdict": ahead if p <= ALPHA else "undecided",
        }
    return rows


def pair_rows(panel: Panel, first: int, second: int) -> Iterator[dict[str, object]]:
    """One row per task whose documents two cells share: difference, counts, uncorrected p."""
    pair = (first, second)
    for task, shared in enumerate(panel.samples):
        if shared is None or not shared.shared[list(pair)].all():
            continue
        value = panel.value[list(pair), task]
        sigma = panel.covariance(task, pair)
        stderr = math.sqrt(max(sigma[0, 0] + sigma[1, 1] - 2 * sigma[0, 1], 0.0))
        better = 1.0 if panel.higher[task] else -1.0
        difference = float(value[0] - value[1])
        counts = shared.discordant(first, second) if shared.binary else (None, None)
        yield {
            "model": panel.model,
            "second": labels(panel)[second],
            "task": panel.tasks[task],
            "n": shared.numerator.shape[1],
            "difference": difference,
            "difference_stderr": stderr,
            "only_first": counts[0],
            "only_second": counts[1],
            "raw": _p(shared, pair, difference, stderr, grown=bool(panel.looks[task])),
            "ahead": better * difference > 0,
            "across": across(panel.cells, pair),
        }


def _p(shared: Sample, pair: Rows, difference: float, stderr: float, *, grown: bool) -> float:
    if grown:
        z = difference / stderr if stderr else 0.0
        return float(mixture_p(z, stderr**2 or 1.0, mixture_rho(EXPECTED_SPREAD)))
    if shared.binary:
        return mcnemar(*shared.discordant(int(pair[0]), int(pair[1])))
    return math.erfc(abs(difference) / stderr / math.sqrt(2)) if stderr else 1.0
