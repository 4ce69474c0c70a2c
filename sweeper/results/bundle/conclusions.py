"""What follows from records: the tables of the report, and the verdicts in words."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from analysis.data.results import Results

CLOSE = 1e-9
"""Relative: other processors and libraries add up in another order."""


@dataclass(frozen=True, kw_only=True)
class Conclusions:
    """Tables as CSV by name, and verdicts."""

    tables: dict[str, str]
    verdicts: list[str]


def of(results: Results) -> Conclusions:
    """Everything that a report of these results concludes.

    Raises:
        BadResults: the results contradict themselves.
    """
    import pandas as pd

    from analysis.data.panel import panels
    from analysis.data.task_groups import pooled
    from analysis.report.contents import all_tables, conclusions

    # a bundle holds what scores follow from, and errors of matrices do not enter any
    whole = replace(pooled(results), layers=pd.DataFrame())
    groups = panels(whole)
    return Conclusions(
        tables={table.name: table.csv() for table in all_tables(whole, groups)},
        verdicts=conclusions(whole, groups),
    )


def parted(recorded: str, found: str) -> Iterator[tuple[str, str, str]]:
    """Where two CSV tables part: (place, what was recorded, what follows from the records)."""
    one, two = _read(recorded), _read(found)
    if list(one.columns) != list(two.columns):
        yield "columns", ", ".join(one.columns), ", ".join(two.columns)
        return
    if len(one) != len(two):
        yield "rows", str(len(one)), str(len(two))
        return
    for column in one.columns:
        for place in map(int, np.flatnonzero(~_alike(one[column], two[column]))):
            row = ", ".join(str(one[name].iat[place]) for name in _NAMES if name in one)
            before, after = (str(frame[column].iat[place]) or "nothing" for frame in (one, two))
            yield f"{column} of {row or f'row {place + 1}'}", before, after


_NAMES = ("label", "task")


def _read(text: str) -> pd.DataFrame:
    import pandas as pd

    if not text.strip():
        return pd.DataFrame()
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)


def _alike(one: pd.Series[Any], two: pd.Series[Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    import pandas as pd

    same = (one == two).to_numpy()
    first, second = (pd.to_numeric(s, errors="coerce").to_numpy(float) for s in (one, two))
    return np.asarray(same | np.isclose(first, second, rtol=CLOSE, atol=1e-12))
