"""The body of a table as HTML, written at once: a template is slow with thousands of rows."""

from __future__ import annotations

from markupsafe import Markup, escape

from analysis import render
from analysis.tables import Table

LONG = 40
"""Text of more characters may wrap."""


def body(table: Table, *, by_model: bool = False) -> Markup:
    """The rows of a table; every text is escaped.

    Args:
        table: what is shown.
        by_model: each row names its model, so that the page can hide it.
    """
    attributes = [_attribute(column.form, column.definition) for column in table.columns]
    models = list(table.rows["model"]) if by_model and "model" in table.rows else []
    lines = []
    for i, row in enumerate(render.printed(table)):
        model = f' data-model="{escape(models[i])}"' if models else ""
        cells = "".join(
            f"<td{_long(given, cell)}>{escape(cell)}</td>"
            for given, cell in zip(attributes, row, strict=True)
        )
        lines.append(f"<tr{model}>{cells}</tr>")
    # Only escaped text went in.
    return Markup("\n".join(lines))


def _attribute(form: str, definition: str | None) -> str:
    if form == "text":
        return ' class="t"'
    return f' class="def-{definition}"' if definition else ""


def _long(attribute: str, cell: str) -> str:
    return ' class="t long"' if attribute == ' class="t"' and len(cell) > LONG else attribute
