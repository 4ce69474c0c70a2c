"""A sweep's cells beside the rows of JSQ (Guo et al., ICML 2024) that they repeat."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.data.results import Results
from analysis.metrics import DENSE_BITS
from analysis.output.table import Column, Table
from analysis.published.reference import facts

PRINTED_MODEL = "LLaMA-7B"
TABLES = ("1", "2", "3", "4", "6", "8")
# (1 - s)(b/16)^2 of the rows at 3.24 T operations, see `analysis.published.jsq`
EQUAL_OPERATIONS, SLACK = 0.140625, 0.001
SEARCHED, FIXED, NONE = "searched", "5e-05", "0"
LAMBDA = 2.0
RIVALS = {
    ("wanda", ""): "Wanda",
    ("sparsegpt", ""): "SparseGPT",
    ("", "smoothquant"): "SmoothQuant",
    ("wanda", "smoothquant"): "Wanda+SmoothQuant",
    ("sparsegpt", "smoothquant"): "SparseGPT+SmoothQuant",
}
ABLATIONS = {
    (SEARCHED, 2.0): "JSQ",
    (SEARCHED, 0.0): "-SAR",
    (NONE, 2.0): "-Editing",
    (FIXED, 2.0): "-Search",
}
STRUCTURES = {"unstructured": "Unstructured", "2:4": "Structured 2:4", "4:8": "Structured 4:8"}

_Cell = Mapping[Hashable, Any]
_Row = tuple[str, str]
"""Table and row, as printed."""


def measured_table(results: Results, name: str) -> Table | None:
    """Every printed row that a cell of the sweep repeats; None without any.

    Perplexities of two models on two texts are not comparable: each stands beside its
    ratio to its own dense model.
    """
    rows = pd.DataFrame(list(_rows(results)))
    if rows.empty:
        return None
    columns = (
        Column(key="table", title="Table"),
        Column(key="row", title="Row"),
        Column(key="published", title=f"{PRINTED_MODEL}, published", form="number", digits=2),
        Column(key="published_ratio", title="dense / row", form="number", digits=3),
        Column(key="label", title="Cell"),
        Column(key="model", title="Model"),
        Column(key="measured", title="Measured", form="number", digits=2),
        Column(key="measured_ratio", title="dense / row", form="number", digits=3),
    )
    return Table(
        name="jsq_measured",
        caption=f"JSQ's rows beside the cells of {name} that repeat them",
        columns=columns,
        rows=rows.sort_values(["table", "row", "model"], ignore_index=True),
        notes=(
            "Perplexities; another model and another text than published, so only the ratios "
            "dense / row stand side by side (1 keeps everything). The cells of tables 6 and 8 "
            "have a fixed editing strength of 5e-05, the printed rows a searched one.",
        ),
    )


def _rows(results: Results) -> Iterator[dict[str, Any]]:
    printed, scores = _printed(), _perplexities(results)
    compared = results.cells[results.cells["rerun"] == 0]
    for model, part in compared.groupby("model", sort=True):
        cells = [cell for cell in part.to_dict("records") if cell["cell"] in scores]
        dense = next((scores[c["cell"]] for c in cells if not _compressed(c)), None)
        if dense is None:
            continue
        samples = _usual_samples(cells)
        for cell in cells:
            for table, row in _repeated(cell, samples):
                value, published = scores[cell["cell"]], printed[table, row]
                yield {
                    "table": table,
                    "row": row,
                    "published": published,
                    "published_ratio": printed["1", "dense"] / published,
                    "label": cell["label"],
                    "model": model,
                    "measured": value,
                    "measured_ratio": dense / value,
                }


def _printed() -> dict[_Row, float]:
    """Perplexity of every row of the tables for the one model that all of them have."""
    found: dict[_Row, float] = {}
    for table in TABLES:
        rows = facts("jsq2024", table)
        rows = rows[(rows["metric"] == "ppl") & (rows["model"] == PRINTED_MODEL)]
        for label, value in zip(rows["row_label"], rows["value"], strict=True):
            found[table, str(label)] = float(value)
    return found


def _perplexities(results: Results) -> dict[str, float]:
    """Cell -> its first score of a task where lower is better."""
    scores = results.scores
    counts = scores["primary"].astype(bool) & ~scores["stopped"].astype(bool)
    lower = scores[counts & ~scores["higher_is_better"].astype(bool)]
    first = lower.drop_duplicates("cell")
    return dict(zip(first["cell"], first["value"].astype(float), strict=True))


def _compressed(cell: _Cell) -> bool:
    return bool(cell["prune_method"]) or cell["bits"] < DENSE_BITS


def _usual_samples(cells: Sequence[_Cell]) -> float:
    """The number of calibration samples that most cells have; 0 without any."""
    known = pd.Series([c["calibration_samples"] for c in cells], dtype=float).dropna()
    return 0.0 if known.empty else float(known.mode().iloc[0])


def _repeated(cell: _Cell, samples: float) -> Iterator[_Row]:
    """The printed rows that a cell repeats."""
    left = (1 - cell["sparsity"]) * (cell["bits"] / DENSE_BITS) ** 2
    equal, usual = abs(left - EQUAL_OPERATIONS) < SLACK, cell["calibration_samples"] == samples
    methods = (cell["prune_method"], cell["quant_method"])
    if equal and methods in RIVALS and usual:
        yield "1", RIVALS[methods]
    if cell["prune_method"] != "jsq":
        return
    how = (cell["editing"], cell["range_weight"])
    whole, smooth = how == (SEARCHED, LAMBDA) and usual, cell["quant_method"] == "smoothquant"
    if equal and whole:
        yield "4", "JSQ" if smooth else "JSQ (GPTQ)"
    if smooth and equal:
        yield from _varied(cell, how, whole, usual)
    elif smooth and cell["sparsity"] == 0.5 and cell["pattern"] in STRUCTURES:
        yield "2", STRUCTURES[cell["pattern"]]


def _varied(cell: _Cell, how: tuple[str, float], whole: bool, usual: bool) -> Iterator[_Row]:
    """Tables 1, 3, 6 and 8: one thing at a time."""
    if whole:
        yield "1", "JSQ (Ours)"
    if usual and how in ABLATIONS:
        yield "3", ABLATIONS[how]
    if usual and how[0] == FIXED and how[1] in (1, 2, 3, 4, 5):
        yield "6", f"lambda={how[1]:g}"
    if how == (FIXED, LAMBDA) and cell["calibration_samples"] in (8, 16, 32, 64, 128):
        yield "8", f"n_calibration={cell['calibration_samples']:g}"
