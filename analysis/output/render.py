"""Writes a `Table` as CSV, Markdown and LaTeX; the only place where numbers are rounded."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
from markupsafe import Markup, escape

from analysis.output.table import STOPPED, Column, Table
from analysis.output.text import plus_minus

GAP = "–"
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "–": "--",
        "†": r"\dag{}",
        "‡": r"\ddag{}",
        "°": r"$^{\circ}$",
        "×": r"$\times$",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)
_MARKDOWN = str.maketrans({"\n": " "} | {sign: f"\\{sign}" for sign in r"\`*_{}[]<>#|~"})

Row = dict[str, object]


def records(table: Table) -> list[Row]:
    """The rows as plain dictionaries."""
    return [{str(k): v for k, v in row.items()} for row in table.rows.to_dict("records")]


def number(row: Row, key: str) -> float:
    """A numeric cell; nan where there is none."""
    value = row.get(key)
    return float(value) if isinstance(value, int | float) else float("nan")


def text(column: Column, row: Row) -> str:
    """A cell as it is read, rounded; a gap is a dash, never a number."""
    if column.form == "text":
        value = row.get(column.key)
        return "" if value is None or value != value else str(value)
    value = number(row, column.key)
    given = row.get(f"{column.key}_mark")
    mark = given if isinstance(given, str) else ""
    if not np.isfinite(value):
        return GAP + (STOPPED if STOPPED in mark else "")
    return _numeric(column, row, value) + mark


def _numeric(column: Column, row: Row, value: float) -> str:
    if column.form == "estimate":
        stderr = number(row, f"{column.key}_stderr")
        # Perplexities of a collapsed model have more digits than anyone can read.
        return (
            plus_minus(value, stderr, column.digits)
            if abs(value) < 1000
            else (f"{value:.3g} ± {stderr:.2g}")
        )
    if column.form == "difference":
        low, high = (number(row, f"{column.key}_{end}") for end in ("low", "high"))
        said = f"{value:.{column.digits}f}"
        if not np.isfinite([low, high]).all():
            return said
        return f"{said} ({low:.{column.digits}f} to {high:.{column.digits}f})"
    if column.form == "percent":
        return _trimmed(100 * value, column.digits) + " %"
    if column.form == "p":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    return f"{value / 1e6 if column.form == 'megabytes' else value:.{column.digits}f}"


def _trimmed(value: float, digits: int) -> str:
    """Without trailing zeros; a fourth decimal where it is all there is (85.9375)."""
    short = round(value, 4)
    digits = 4 if digits == 3 and abs(value - short) < 1e-9 else digits
    shown = f"{value:.{digits}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


@lru_cache(maxsize=64)
def printed(table: Table) -> tuple[tuple[str, ...], ...]:
    """All cells as they are read, row by row; the page, Markdown and LaTeX print the same."""
    return tuple(tuple(text(c, row) for c in table.columns) for row in records(table))


def to_markdown(table: Table) -> str:
    """A pipe table with its caption and notes."""
    head = [_markdown(column.title) for column in table.columns]
    align = ["---" if column.form == "text" else "---:" for column in table.columns]
    lines = [[_markdown(cell) for cell in row] for row in printed(table)]
    body = [f"| {' | '.join(line)} |" for line in (head, align, *lines)]
    notes = [f"\n{_markdown(note)}" for note in table.notes]
    return "\n".join([f"**{_markdown(table.caption)}**\n", *body, *notes, ""])


def to_latex(table: Table) -> str:
    r"""A table float in the style of booktabs; needs \usepackage{booktabs} and nothing else."""
    form = "".join("l" if column.form == "text" else "r" for column in table.columns)
    head = " & ".join(latex(column.title) for column in table.columns)
    body = [" & ".join(map(latex, row)) for row in printed(table)]
    notes = [rf"\par\footnotesize {latex(note)}" for note in table.notes]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(table.caption)}}}",
        rf"\label{{tab:{re.sub('[^a-z0-9]+', '-', table.name)}}}",
        rf"\begin{{tabular}}{{{form}}}",
        r"\toprule",
        rf"{head} \\",
        r"\midrule",
        *(rf"{line} \\" for line in body),
        r"\bottomrule",
        r"\end{tabular}",
        *notes,
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def latex(plain: str) -> str:
    """Plain text with everything that LaTeX would read as a command made harmless."""
    return plain.replace("\n", " ").translate(_LATEX)


def _markdown(plain: str) -> str:
    return plain.translate(_MARKDOWN)


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
    for i, row in enumerate(printed(table)):
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
