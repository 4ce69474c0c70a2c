"""Cells of MPT's tables that contradict their own table, found by rule; nothing is corrected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from analysis.output.table import Column, Table
from analysis.published.reference import facts, sparsity

SIZE_SLACK = 0.02  # of a relative size: printed to three digits, some to two
RISE_SLACK = 0.005  # by how much a perplexity may fall at more compression: its noise
SHARED_DIGITS = 5  # two cells that agree in so many digits are one number printed twice


@dataclass(frozen=True, kw_only=True)
class Misprint:
    """A cell that cannot be, or hardly can.

    Attributes:
        table: of MPT.
        cell: row and column.
        printed: what stands there.
        expected: what the rest of the table implies; "" where it implies nothing.
        why: the rule it breaks.
        certain: whether it is arithmetic (a size) rather than suspicion.
    """

    table: str
    cell: str
    printed: str
    expected: str
    why: str
    certain: bool

    def __str__(self) -> str:
        implied = f", {self.expected} expected" if self.expected else ""
        return f"{self.cell}: {self.printed} printed{implied}; {self.why}."


def misprints(table: str | None = None) -> list[Misprint]:
    """Every cell of one table (or of all) that breaks a rule, certain ones first."""
    found = [
        m
        for one in ([table] if table else [str(n) for n in range(1, 11)])
        for rule in (_sizes, _steps, _across, _twice, _falls)
        for m in rule(one)
    ]
    return sorted(found, key=lambda m: not m.certain)


def misprint_table() -> Table:
    """All of them as one table."""
    rows = [
        {
            "table": m.table,
            "cell": m.cell,
            "printed": m.printed,
            "expected": m.expected,
            "why": m.why,
            "kind": "misprint" if m.certain else "suspect",
        }
        for m in misprints()
    ]
    titles = {
        "table": "Table",
        "cell": "Cell",
        "printed": "Printed",
        "expected": "Expected",
        "why": "Why",
        "kind": "Kind",
    }
    return Table(
        name="mpt_misprints",
        caption="Cells of MPT's tables that contradict their table",
        columns=tuple(Column(key=k, title=t) for k, t in titles.items()),
        rows=pd.DataFrame(rows),
        notes=(
            "A misprint is arithmetic: sizes are (1 - sparsity) times the size of the "
            "quantized model. A suspect may be right, but the table gives reason to doubt it. "
            "The facts stay as printed everywhere.",
        ),
    )


def size_ratio(table: str) -> dict[float, float]:
    """Relative size of each bit-width of table 9 or 10, sparsity taken out: by the median row."""
    printed = facts("mpt", table)
    whole = printed["budget_pct"] / (1 - printed["sparsity_pct"] / 100) / 100
    median = whole.groupby(printed["bits"]).median()
    return dict(zip(median.index.to_numpy(float), median.to_numpy(float), strict=True))


def _sizes(table: str) -> Iterator[Misprint]:
    """Relative sizes that are not (1 - s) times that of their column."""
    if table not in ("9", "10"):
        return
    ratio, printed = size_ratio(table), facts("mpt", table)
    for fact in printed.to_dict("records"):
        size = 100 * (1 - sparsity(fact["sparsity_pct"])) * ratio[fact["bits"]]
        if abs(fact["budget_pct"] - size) > max(SIZE_SLACK * size, 0.06):
            yield Misprint(
                table=table,
                cell=_cell(fact),
                printed=f"{fact['budget_pct']:g} %",
                expected=f"{size:.2f} %",
                certain=True,
                why="its size does not follow from its sparsity",
            )


def _steps(table: str) -> Iterator[Misprint]:
    """Sizes of a model that shrink at more bits."""
    printed = facts("mpt", table)
    sizes = printed[(printed["metric"] == "size") & printed["value"].notna()]
    for model, rows in sizes.groupby("model", sort=False):
        ordered = rows.sort_values("bits", kind="stable").to_dict("records")
        for less, more in pairwise(ordered):
            if more["value"] < less["value"]:
                yield Misprint(
                    table=table,
                    cell=f"{model}, {more['bits']:g} bit, size",
                    certain=True,
                    printed=f"{more['value']:g} GB",
                    expected=f"above {less['value']:g} GB",
                    why=f"it is smaller than at {less['bits']:g} bit",
                )


def _across(table: str) -> Iterator[Misprint]:
    """Relative sizes of table 10 that table 6 gives otherwise, in GB, for the same model."""
    if table != "10":
        return
    other = facts("mpt", "6")
    other = other[(other["model"] == "LLaMA-2-7B") & (other["metric"] == "size")]
    ratio, sizes = size_ratio(table), dict(zip(other["bits"], other["value"], strict=True))
    dense = float(np.median([sizes[b] / ratio[b] for b in sizes]))
    for bits, size in sizes.items():
        if abs(size / dense / ratio[bits] - 1) > SIZE_SLACK:
            yield Misprint(
                table=table,
                cell=f"the whole column of {bits:g} bit",
                certain=False,
                printed=f"{100 * ratio[bits]:.2f} % at 0 %",
                expected=f"{100 * size / dense:.2f} %",
                why=f"table 6 has {size:g} GB, of {dense:.2f} GB by its other rows",
            )


def _twice(table: str) -> Iterator[Misprint]:
    """Numbers of many digits that stand in two cells."""
    printed = facts("mpt", table)
    exact = printed[(printed["metric"] == "ppl") & (printed["value"].map(_digits) >= SHARED_DIGITS)]
    for value, rows in exact.groupby("value", sort=False):
        if len(rows) > 1:
            cells = [_cell(fact) for fact in rows.to_dict("records")]
            yield Misprint(
                table=table,
                cell=" and ".join(cells),
                printed=f"{value:g}",
                expected="",
                certain=False,
                why="two measurements hardly agree in every digit",
            )


def _falls(table: str) -> Iterator[Misprint]:
    """Perplexities that fall as sparsity rises."""
    printed = facts("mpt", table)
    rows = printed[(printed["metric"] == "ppl") & printed["value"].notna()]
    rows = rows[~rows["pattern"].str.contains(":")]
    rows = rows.assign(prune="Wanda" if table == "10" else rows["method_prune"])
    for _, part in rows.groupby(["prune", "method_quant", "bits", "task", "model"], sort=False):
        ordered = part.sort_values("sparsity_pct").to_dict("records")
        for before, after in pairwise(ordered):
            if after["sparsity_pct"] > before["sparsity_pct"] and (
                after["value"] < (1 - RISE_SLACK) * before["value"]
            ):
                yield Misprint(
                    table=table,
                    cell=_cell(after),
                    printed=f"{after['value']:g}",
                    certain=False,
                    expected=f"above {before['value']:g}",
                    why=f"it is lower than at {before['sparsity_pct']:g} % sparsity",
                )


def _digits(value: float) -> int:
    return len(f"{value:.10g}".replace(".", "").strip("0")) if np.isfinite(value) else 0


def _cell(fact: dict) -> str:  # type: ignore[type-arg]  # a row of facts: any column
    where = fact["pattern"] if ":" in fact["pattern"] else f"{fact['sparsity_pct']:g} %"
    method = fact["method_prune"] or ("" if fact["table"] == "10" else fact["row_label"])
    quantized = f", {fact['method_quant'] or 'GPTQ'} {fact['bits']:g} bit" * (fact["bits"] < 16)
    fp16 = ", FP16" * (fact["bits"] == 16 and fact["table"] in ("8", "9", "10"))
    return f"{method} {where}{quantized}{fp16}".strip()
