"""Tables I-VII of arXiv:2505.07289 (Laborde et al.), from any results: published or measured.

The layout, which cells stand where, is read off the published tables; the numbers come
from the results that are given, and a cell that they lack is a marked gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.data.panel import Panel
from analysis.metrics import exact, tcr
from analysis.output.table import STOPPED, Column, Table
from analysis.output.text import percent
from analysis.published.reference import METHODS, facts, label, sparsity
from analysis.report.tables import stopped_notes

CAPTIONS = {
    "I": "Theoretical compression rate",
    "II": "SparseGPT, unstructured pruning-only results",
    "III": "GPTQ, quantization-only results",
    "IV": "GPTQ against NF4 and LLM.int8()",
    "V": "SparseGPT + GPTQ, semi-structured joint results",
    "VI": "SparseGPT, semi-structured pruning-only results",
    "VII": "SparseGPT + GPTQ, unstructured joint results",
}
NUMBERS = {name: i + 1 for i, name in enumerate(CAPTIONS)}


class Config(NamedTuple):
    """What makes a cell of the paper, whatever the model."""

    sparsity: float
    pattern: str
    quant_method: str
    bits: float

    @property
    def label(self) -> str:
        """Its name: "25% + 4bit"."""
        return label(self.sparsity, self.pattern, self.quant_method, self.bits)

    @property
    def tcr(self) -> Fraction:
        """Eq. 1."""
        return tcr(self.sparsity, self.bits)


def config(name: str) -> Config:
    """The configuration of the paper with this name; `KeyError` if it has none."""
    return {one.label: one for one in configs()}[name]


@lru_cache(maxsize=1)
def configs() -> tuple[Config, ...]:
    """Every configuration of Tables II-VII once, in the order of their first appearance."""
    rows = (one for table in list(CAPTIONS)[1:] for block in layout(table) for one in block)
    return tuple(dict.fromkeys(rows))


@dataclass(frozen=True, kw_only=True)
class Place:
    """One cell of one model: its row in the model's panel, or None when there is none."""

    panel: Panel
    config: Config
    row: int | None


def layout(table: str) -> list[list[Config]]:
    """The rows of a printed table: blocks, each of which is repeated for every model."""
    blocks: list[tuple[str, list[Config]]] = []
    for row in facts("laborde2025", table).to_dict("records"):
        p = sparsity(row["sparsity_pct"])
        one = Config(p, row["pattern"] if p else "", METHODS[row["method_quant"]], row["bits"])
        if not blocks or blocks[-1][0] != row["model"]:
            blocks.append((row["model"], []))
        if one not in blocks[-1][1]:
            blocks[-1][1].append(one)
    first = blocks[0][0]
    return [configs for model, configs in blocks if model == first]


def find(panel: Panel, wanted: Config) -> int | None:
    """The row of a configuration in a panel.

    Of several (mask kept or ignored, calibration seeds) the one nearest to the paper's:
    the mask ignored, as in its Case A, then the lowest seed.
    """
    cells = panel.cells
    same = (cells["pattern"] == wanted.pattern) & (cells["quant_method"] == wanted.quant_method)
    same &= (cells["bits"] == wanted.bits) & cells["prune_method"].isin(["", "sparsegpt"])
    same &= (cells["prune_profile"] == "") & (cells["quant_profile"] == "")
    same &= (cells["sparsity"] - wanted.sparsity).abs() < 1e-9
    nearest = pd.DataFrame(
        {
            "undone": cells["status"] != "done",
            "kept": cells["mask"] == "keep",
            "seed": cells["calibration_seed"].fillna(0),
            "row": np.arange(len(cells)),
        }
    )[same]
    nearest = nearest.sort_values(["undone", "kept", "seed", "row"])
    return int(nearest["row"].to_numpy()[0]) if len(nearest) else None


def places(panels: Sequence[Panel], table: str) -> Iterator[Place]:
    """The rows of a table in printed order, for the models that the results have."""
    for block in layout(table):
        for panel in panels:
            for one in block:
                yield Place(panel=panel, config=one, row=find(panel, one))


def rate_table() -> Table:
    """Table I: TCr by bits and sparsity; follows from eq. 1 alone."""
    printed = facts("laborde2025", "I")
    sparsities = [sparsity(p) for p in dict.fromkeys(printed["sparsity_pct"])]
    rows = [
        {"bits": f"{q:g} bit", **{percent(exact(p)): float(tcr(p, q)) for p in sparsities}}
        for q in dict.fromkeys(printed["bits"])
    ]
    columns = [Column(key="bits", title="Quantization")]
    columns += [
        Column(key=percent(exact(p)), title=percent(exact(p)), form="percent") for p in sparsities
    ]
    return Table(
        name="table1",
        caption=f"Table I. {CAPTIONS['I']}",
        columns=tuple(columns),
        rows=pd.DataFrame(rows),
    )


def score_table(panels: Sequence[Panel], table: str) -> Table:
    """Tables II-VII: score and standard error per benchmark and their mean, in points.

    The mean is over the benchmarks where higher is better, its standard error
    sqrt(sum s^2) / T, as the paper's "Mean" and "Std".
    """
    tasks = sorted({t for panel in panels for t in panel.tasks}, key=_printed_order)
    found = list(places(panels, table))
    rows = pd.DataFrame([_row(place, tasks) for place in found])
    columns = [Column(key="model", title="Model"), Column(key="label", title="Cell")]
    for name in [*tasks, "Mean"]:
        columns.append(Column(key=name, title=name, form="number", digits=1))
        columns.append(Column(key=f"{name}_std", title="Std", form="number", digits=1))
    absent = [f"{p.panel.model} {p.config.label}" for p in found if p.row is None]
    notes = (f"No such cell in these results: {', '.join(absent)}.",) if absent else ()
    return Table(
        name=f"table{NUMBERS[table]}",
        caption=f"Table {table}. {CAPTIONS[table]}",
        columns=tuple(columns),
        rows=rows,
        notes=(*notes, *stopped_notes(panels)),
    )


def tables(panels: Sequence[Panel]) -> list[Table]:
    """All seven, in printed order."""
    return [rate_table(), *(score_table(panels, name) for name in list(CAPTIONS)[1:])]


def points(panel: Panel, row: int) -> tuple[dict[str, float], dict[str, float]]:
    """Scores and standard errors of a cell by benchmark and their "Mean"; points of 100."""
    value = dict(zip(panel.tasks, 100 * panel.shown[row], strict=True))
    stderr = dict(zip(panel.tasks, 100 * panel.stderr[row], strict=True))
    up = panel.higher
    with np.errstate(invalid="ignore"):
        value["Mean"] = 100 * panel.value[row][up].mean() if up.any() else np.nan
        error = np.sqrt((panel.stderr[row][up] ** 2).sum()) / max(up.sum(), 1)
    stderr["Mean"] = 100 * error if up.any() else np.nan
    for task, better in zip(panel.tasks, up, strict=True):
        if not better:  # a perplexity is no share of 100
            value[task], stderr[task] = value[task] / 100, stderr[task] / 100
    return value, stderr


def _row(place: Place, tasks: Sequence[str]) -> dict[str, object]:
    shown: dict[str, object] = {
        "model": place.panel.model,
        "label": place.config.label,
        "cell": "",
        "tcr": float(place.config.tcr),
    }
    value, stderr = ({}, {}) if place.row is None else points(place.panel, place.row)
    stopped: set[str] = set()
    if place.row is not None:
        stopped = {place.panel.tasks[t] for t in np.flatnonzero(place.panel.stopped[place.row])}
        shown["cell"] = place.panel.cells["cell"].iat[place.row]
    for name in [*tasks, "Mean"]:
        shown[name], shown[f"{name}_std"] = value.get(name, np.nan), stderr.get(name, np.nan)
        if name in stopped:
            shown[f"{name}_mark"] = STOPPED
    return shown


def _printed_order(task: str) -> tuple[int, str]:
    order = ("MMLU-Pro", "BBH", "MATH")
    return (order.index(task) if task in order else len(order), task)
