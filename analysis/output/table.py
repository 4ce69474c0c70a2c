"""A table as data: which columns, which rows, which notes.

A `Table` carries numbers at full precision; `analysis.output.render` rounds and writes them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from analysis.metrics import Definition

Form = Literal["text", "percent", "number", "estimate", "difference", "megabytes", "p"]


AT_CHANCE = "†"
OWN_SEED = "another seed of the best's method"


STOPPED = "‡"
"""Printed at a score so far of a model given up as collapsed, and where one lacks for that."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table.

    Attributes:
        key: the column of the rows; an estimate has `<key>_stderr` beside it, a difference
            `<key>_low` and `<key>_high`, the ends of its 95 % interval, and
            `<key>_mark` holds a sign that is printed after the number.
        title: the heading.
        form: how a value is printed.
        digits: decimals that are printed.
        definition: shown only under this definition of Sr, where one can be chosen.
    """

    key: str
    title: str
    form: Form = "text"
    digits: int = 3
    definition: Definition | None = None


def several(form: Form, digits: int, **titles: str) -> tuple[Column, ...]:
    """Columns that are printed alike: key -> title."""
    return tuple(
        Column(key=key, title=title, form=form, digits=digits) for key, title in titles.items()
    )


def if_any(rows: pd.DataFrame, *columns: Column) -> tuple[Column, ...]:
    """Those of some columns in which a row says anything."""
    return tuple(c for c in columns if c.key in rows and (rows[c.key].fillna("") != "").any())


ACROSS = Column(key="across", title="Across machines")
"""Which types of machine two things that are compared have met, where that is more than one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A table ready to be written.

    Attributes:
        name: the name of its files.
        caption: what it shows.
        columns: what is printed, in order.
        rows: the data, at full precision.
        notes: what a reader has to know; printed under it.
        definition: the definition of Sr that it is about, if it is about one.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: pd.DataFrame
    notes: tuple[str, ...] = ()
    definition: Definition | None = None

    def csv(self) -> str:
        """All data of the rows at full precision, for other programs."""
        return self.rows.to_csv(index=False, lineterminator="\n")


def without_model(table: Table) -> Table:
    """The table as it is printed where there is one model only; its data keep the name."""
    columns = tuple(column for column in table.columns if column.key != "model")
    return replace(table, columns=columns)
