"""What a reader asks first: one row a cell, its rate, its real size and what it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.comparison.across_machines import mixed_notes
from analysis.comparison.summary import retention_table, summarise
from analysis.data.labels import labels
from analysis.data.panel import Panel
from analysis.output.table import Column, Table


def headline_table(panels: Sequence[Panel], *, both: bool = False) -> Table:
    """Cells by TCr, then by Sr2; perplexities that are kept beside Sr, a column each.

    TCr is nominal (arXiv 2505.07289, eq. 9); size and bits per weight are those of the files, mask
    and scales included. Sr is Sr2, each error one standard error. Columns that no cell
    has are left out.

    Args:
        panels: one a model.
        both: Sr1 too, in a column of its own that a page shows in the place of Sr2.
    """
    rows = summarise(panels)
    columns = [
        Column(key="model", title="model"),
        Column(key="label", title="cell"),
        Column(key="tcr", title="TCr", form="percent"),
        *(_retention(rows, both=True) if both else ()),  # in sight on a phone
        Column(key="bytes", title="size, MB", form="megabytes", digits=1),
        Column(key="bits_per_weight", title="bits/weight", form="number", digits=2),
        Column(key="containment", title="mask kept", form="percent", digits=1),
        *(() if both else _retention(rows, both=False)),
    ]
    if not rows.empty:
        rows["label"] = [name for panel in panels for name in labels(panel)]
        rows.loc[rows["sparsity"] == 0, "containment"] = np.nan  # nothing was pruned
        kept = _perplexities(panels)
        several = len(kept) > 1
        for task, column in kept.items():
            rows = rows.merge(column, on="cell", how="left")
            title = f"perplexity kept: {task}" if several else "perplexity kept"
            columns.append(Column(key=f"kept:{task}", title=title, form="estimate"))
        rows = rows.sort_values(["model", "tcr", "sr2"], ascending=[True, True, False])
        columns = [c for c in columns if rows[c.key].notna().any()]
        if rows["model"].nunique() == 1:
            columns = columns[1:]
    return Table(
        name="result",
        caption="Every cell: rate, size and what it keeps",
        columns=tuple(columns),
        rows=rows.reset_index(drop=True),
        notes=mixed_notes(panels),
    )


def _retention(rows: pd.DataFrame, *, both: bool) -> tuple[Column, ...]:
    """Sr2, and where it is asked for or alone there is, Sr1."""
    second = Column(key="sr2", title="Sr", form="estimate")
    first = Column(key="sr1", title="Sr1", form="estimate")
    if not rows.empty and not rows["sr2"].notna().any():
        return (first,)  # perplexities alone were scored
    if not both:
        return (second,)
    return replace(second, title="Sr2", definition="sr2"), replace(first, definition="sr1")


def _perplexities(panels: Sequence[Panel]) -> dict[str, pd.DataFrame]:
    """Task -> (cell, ``kept:<task>`` and its standard error), where lower is better."""
    lower = {
        task
        for panel in panels
        for task, higher in zip(panel.tasks, panel.higher, strict=True)
        if not higher
    }
    long = retention_table(panels)
    return {
        task: long[long["task"] == task][["cell", "retention", "retention_stderr"]].rename(
            columns={"retention": f"kept:{task}", "retention_stderr": f"kept:{task}_stderr"}
        )
        for task in sorted(lower)
    }
