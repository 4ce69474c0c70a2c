"""Whether the printed tables of arXiv:2505.07289 agree with themselves.

Printed numbers are rounded to 0.1 points, so what follows from them is only known within
a range: a number is "impossible" when no unrounded values could have given it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.metrics import Array, tcr
from analysis.output.table import Column, Table
from analysis.published.reference import DOCUMENTS, TABLES, facts, sparsity

ROUND = 0.05
"""Half of the last printed digit, in points."""

Row = dict[str, Any]


def audit() -> pd.DataFrame:
    """Every printed number that can be recomputed from others, once, with a finding.

    Columns: where, model, cell, what, printed, recomputed, low, high (the range that
    rounding allows), finding: "agrees" (as rounded), "within rounding", "below the bound"
    (a standard error that pooling made smaller than the binomial one) or "impossible".
    """
    return pd.DataFrame([*_rates(), *_means(), *_stds()])


def _rates() -> Iterator[Row]:
    """Table I against eq. 1."""
    for row in facts("laborde2025", "I").to_dict("records"):
        rate = 100 * float(tcr(sparsity(row["sparsity_pct"]), row["bits"]))
        yield _found(
            "I",
            "",
            f"{row['sparsity_pct']:g}% + {row['bits']:g}bit",
            "TCr",
            row["value"],
            rate,
            rate - 5e-4,
            rate + 5e-4,
            digits=3,
        )


def _means() -> Iterator[Row]:
    """The columns "Mean" and its "Std" against the three benchmarks of the row."""
    for table, row in _rows():
        score, std = (
            np.array([row[kind][task] for task in DOCUMENTS]) for kind in ("value", "std")
        )
        mean, error = score.mean(), np.sqrt((std**2).sum()) / len(std)
        yield _found(
            table,
            row["model"],
            row["cell"],
            "Mean",
            row["value"]["Mean"],
            mean,
            mean - ROUND,
            mean + ROUND,
        )
        low = np.sqrt((np.maximum(std - ROUND, 0) ** 2).sum()) / len(std)
        high = np.sqrt(((std + ROUND) ** 2).sum()) / len(std)
        yield _found(
            table, row["model"], row["cell"], "Mean Std", row["std"]["Mean"], error, low, high
        )


def _stds() -> Iterator[Row]:
    """Each Std against the binomial one, which pooling over subtasks can only make smaller."""
    for table, row in _rows():
        for task, n in DOCUMENTS.items():
            share = row["value"][task] / 100
            near = np.clip([share - ROUND / 100, share + ROUND / 100], 0, 1)
            binomial, most = 100 * _binomial(np.array([share]), n)[0], 100 * _binomial(near, n)
            yield _found(
                table,
                row["model"],
                row["cell"],
                f"{task} Std",
                row["std"][task],
                binomial,
                0.0,
                float(max(*most, binomial)),
            )


def _binomial(share: Array, n: int) -> Array:
    return np.asarray(np.sqrt(share * (1 - share) / (n - 1)))


def _rows() -> Iterator[tuple[str, Row]]:
    """The rows of Tables II-VII; a configuration that is printed again is not repeated."""
    seen = set()
    for table in TABLES["laborde2025"][1:]:
        printed = facts("laborde2025", table)
        key = ["row_label", "model", "sparsity_pct", "pattern", "method_quant", "bits"]
        for _, part in printed.groupby(key, sort=False):
            first = part.iloc[0]
            if (one := tuple(first[key[1:]])) not in seen:
                seen.add(one)
                by_task = part.set_index("task")
                yield (
                    table,
                    {
                        "model": first["model"],
                        "cell": first["row_label"],
                        "value": by_task["value"],
                        "std": by_task["std"],
                    },
                )


def _found(
    table: str,
    model: str,
    cell: str,
    what: str,
    printed: float,
    recomputed: float,
    low: float,
    high: float,
    *,
    digits: int = 1,
) -> Row:
    half = 0.5 * 10.0**-digits
    if abs(printed - recomputed) <= half + 1e-9:
        finding = "agrees"
    elif low - half - 1e-9 <= printed <= high + half + 1e-9:
        finding = "below the bound" if low == 0 and printed < recomputed else "within rounding"
    else:
        finding = "impossible"
    return {
        "where": f"Table {table}",
        "model": model,
        "cell": cell,
        "what": what,
        "printed": printed,
        "recomputed": recomputed,
        "low": low,
        "high": high,
        "finding": finding,
    }


def summary(found: pd.DataFrame) -> dict[str, Mapping[str, int]]:
    """Column of the paper -> finding -> how often."""
    kinds = (
        found["what"]
        .str.replace(r".+ Std$", "Std", regex=True)
        .where(found["what"] != "Mean Std", "Mean Std")
    )
    return {
        kind: found["finding"][kinds == kind].value_counts().to_dict() for kind in kinds.unique()
    }


def audit_table() -> Table:
    """What does not agree, and how often what does."""
    found = audit()
    odd = found[found["finding"].isin(["within rounding", "impossible"])].reset_index(drop=True)
    columns = (
        Column(key="where", title="Where"),
        Column(key="model", title="Model"),
        Column(key="cell", title="Cell"),
        Column(key="what", title="What"),
        Column(key="printed", title="Printed", form="number", digits=1),
        Column(key="recomputed", title="Recomputed", form="number", digits=3),
        Column(key="low", title="From", form="number", digits=3),
        Column(key="high", title="To", form="number", digits=3),
        Column(key="finding", title="Finding"),
    )
    told = [
        f"{kind}: " + ", ".join(f"{n} {finding}" for finding, n in counts.items())
        for kind, counts in summary(found).items()
    ]
    notes = (
        "; ".join(told) + ".",
        '"From" and "to": what unrounded values could give. A binomial standard error is an '
        "upper bound: pooling over subtasks takes their differences out.",
    )
    return Table(
        name="audit",
        caption="The printed tables against themselves (points)",
        columns=columns,
        rows=odd,
        notes=notes,
    )
