"""How far a grid that was carried out twice is apart: what a machine alone does to retention."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.data.combining import elsewhere
from analysis.data.panel import Panel, panels
from analysis.data.results import AGAIN, Results, made_again
from analysis.output.table import Column, Table, several

NOTES = (
    "The same cells, compressed and scored again elsewhere, each against its own dense baseline. "
    "A difference between two cells of one machine that is no larger than these may be the "
    "machine's.",
    "In errors: the difference over the first's standard error, which is about other documents "
    "and knows nothing of machines.",
)


def machines_table(results: Results) -> Table:
    """One row per cell and time that it was made again: Sr here, there, and the difference."""
    columns = (
        Column(key="model", title="Model"),
        Column(key="label", title="Cell"),
        Column(key="again", title="Made again as"),
        Column(key="sr2", title="Sr2", form="estimate"),
        Column(key="sr2_again", title="Sr2 again", form="estimate"),
        *several("number", 4, sr2_difference="Difference"),
        *several("number", 1, sr2_errors="In errors"),
        Column(key="sr1", title="Sr1", form="estimate"),
        Column(key="sr1_again", title="Sr1 again", form="estimate"),
        *several("number", 4, sr1_difference="Difference"),
        *several("number", 1, sr1_errors="In errors"),
        Column(key="device", title="On"),
        Column(key="device_again", title="Again on"),
    )
    return Table(
        name="machines",
        caption="The same grid on another machine",
        columns=columns,
        rows=pd.DataFrame(list(_rows(results))),
        notes=NOTES,
    )


def _rows(results: Results) -> Iterator[dict[str, object]]:
    times = elsewhere(results)
    here = {panel.model: panel for panel in panels(results)} if times else {}
    names = dict(zip(results.cells["cell"], results.cells["label"], strict=True))
    numbers = sorted({int(key.partition(AGAIN)[2]) for key in names if AGAIN in key})
    for number, other in zip(numbers, times, strict=True):
        for there in panels(other):
            yield from _of_panel(here[there.model], there, number, names)


def _of_panel(
    here: Panel, there: Panel, number: int, names: dict[str, str]
) -> Iterator[dict[str, object]]:
    rows = {key: row for row, key in enumerate(here.cells["cell"])}
    for row, key in enumerate(there.cells["cell"]):
        first = rows[key]
        yield {
            "model": here.model,
            "label": here.cells["label"].iat[first],
            "again": names[made_again(key, number)],
            **_difference("sr2", here, first, there, row),
            **_difference("sr1", here, first, there, row),
            "device": here.cells["device"].iat[first],
            "device_again": there.cells["device"].iat[row],
        }


def _difference(name: str, here: Panel, first: int, there: Panel, row: int) -> dict[str, float]:
    one, two = (getattr(panel, name)() for panel in (here, there))
    apart = float(two.value[row] - one.value[first])
    error = float(one.stderr[first])
    return {
        name: float(one.value[first]),
        f"{name}_stderr": error,
        f"{name}_again": float(two.value[row]),
        f"{name}_again_stderr": float(two.stderr[row]),
        f"{name}_difference": apart,
        f"{name}_errors": abs(apart) / error if error > 0 else np.nan,
    }
