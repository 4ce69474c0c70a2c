"""The note under every table whose cells met machines of several types."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from analysis.data.devices import mixed_note
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.output.table import ACROSS, Table

NO_COMPARISON = ("tcr", "table1", "scores", "answers", "next", "parting")
"""Tables of rates, of scores as measured, of what was said and of things to do."""


def mixed_notes(panels: Iterable[Panel]) -> tuple[str, ...]:
    """What to know of comparisons within each model; none where each met one type of machine."""
    found = (mixed_note(panel.model, panel.cells, labels(panel)) for panel in panels)
    return tuple(note for note in found if note)


def noted(tables: Sequence[Table], panels: Iterable[Panel]) -> list[Table]:
    """The tables, with that note where they compare cells, or a cell and its dense model.

    Where all met one type the tables have no word, and no column, of machines.
    """
    said = mixed_notes(panels)
    if not said:
        return [
            replace(table, rows=table.rows.drop(columns=ACROSS.key, errors="ignore"))
            for table in tables
        ]
    return [
        table if table.name in NO_COMPARISON else replace(table, notes=(*table.notes, *said))
        for table in tables
    ]
