"""The input of every analysis: the cells of one or more sweeps and their scores, checked.

Two tables. `cells` has one row per cell, `scores` one row per cell, task and
metric. A table that contradicts itself is refused here; a number that is merely
absent stays absent and becomes a marked gap further on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.data.documents import Documents
from analysis.data.race_record import RaceRecord
from analysis.errors import BadResults as BadResults
from analysis.metrics import achieved_tcr
from analysis.output.text import listed

CELL_TEXT = (
    "cell",
    "label",
    "model",
    "prune_method",
    "pattern",
    "quant_method",
    "mask",
    "status",
    "reason",
    "device",
    "editing",
    "origin",
    "prune_profile",
    "quant_profile",
    "method",
    "unproved",
    "compressed_on",
    "base",
)
CELL_NUMBERS = (
    "sparsity",
    "bits",
    "calibration_seed",
    "achieved_sparsity",
    "achieved_tcr",
    "containment",
    "containment_mean",
    "bits_per_weight",
    "stored_bits",
    "entropy_bits",
    "scale_bits",
    "group_size",
    "bytes",
    "linear_weights",
    "total_weights",
    "macs",
    "seconds",
    "range_weight",
    "calibration_samples",
    "rerun",
    "gpu_hours",
)
CELL_FLAGS = ("nm_valid", "collapsed")
METHOD = (
    "prune_method",
    "sparsity",
    "pattern",
    "prune_profile",
    "quant_method",
    "bits",
    "mask",
    "quant_profile",
    "group_size",
    "calibration_samples",
    "editing",
    "range_weight",
    "origin",
)
"""What a cell is beside its model and calibration seed; its label says less, or more."""
CELL_REQUIRED = (
    "cell",
    "label",
    "model",
    "prune_method",
    "sparsity",
    "pattern",
    "quant_method",
    "bits",
    "mask",
    "calibration_seed",
    "status",
    "reason",
)
SCORE_TEXT = (
    "cell",
    "task",
    "metric",
    "version",
    "backend",
    "dtype",
    "group",
    "asked",
    "unlike",
    "common",
    "looks",
)
SCORE_NUMBERS = ("value", "stderr", "n", "chance", "unextracted", "size", "parts")
SCORE_FLAGS = ("higher_is_better", "primary", "collapsed", "stopped")
SCORE_REQUIRED = ("cell", "task", "metric", "value", "stderr", "higher_is_better", "primary")

STATUSES = ("done", "failed", "missing")
MASKS = ("keep", "ignore", "exact", "none")
AGAIN = "@"
"""Between the key of a cell and which time it was made again elsewhere."""
REMOVED = ("low-rank", "structured")
"""Patterns whose weights are not there: no zeros, no mask."""
_N_OF_M = re.compile(r"(\d+):(\d+)")
_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """The checked results of a sweep.

    Attributes:
        cells: one row per cell. Required: cell (unique), label, model, prune_method,
            sparsity (fraction, 1/3 exactly; of low rank and depth, what is removed), pattern
            ("", "unstructured", "2:8", "low-rank" or "structured"),
            quant_method, bits (16 if unquantized), mask, calibration_seed, status,
            reason. Known when measured: achieved_sparsity, achieved_tcr (by the bits in the files;
            where it is not given, by those of the label), containment (lowest layer),
            containment_mean, nm_valid, bits_per_weight (codes that are kept, mask, scales, zero
            points), stored_bits (in the files), entropy_bits (bound of any order-0 code),
            unproved (why what was measured does not prove the label, "" where it does),
            scale_bits (scales and zero points; where it was not measured, as planned),
            group_size (quantized weights per scale), bytes, linear_weights, total_weights,
            macs, collapsed, seconds, gpu_hours, device (that scored it), compressed_on (device
            that made it); origin (where a cell comes from that was not made here); base (the
            model that this one is another base of, "" where it is none); prune_profile,
            quant_profile (how sparsity and bits are spread over matrices, "" where all are
            alike); of JSQ editing ("searched", or the one strength) and range_weight;
            calibration_samples; method (what identifies a cell but for its model and calibration
            seed; where it is not given, its columns do); rerun (1, 2, ... of the dense model
            scored once more, which is no cell to compare; else 0).
        scores: one row per cell, task and metric: value and stderr (same unit), n
            (documents asked), size (documents of the task in all), parts (subtasks that were put
            together), higher_is_better, chance, primary, version, collapsed, unextracted
            (generated answers in which nothing was found to score), stopped (given up as
            collapsed before all documents were asked: such a score is compared with none),
            backend and dtype that scored it; asked (which documents: "all documents", or the first
            so many of an order); unlike and common (`analysis.data.common_documents`: why its
            documents are none of the baseline's, and what was left of them); looks (how many of its
            first documents were asked when its scores were looked at before, "20 40"; "" where this
            is the first look); group (the benchmark
            that the task is a part of, "" for a task of its own). Accuracies are fractions of 1:
            a score of 0 or of all n documents is read as a count.
        documents: scores of single documents by (cell, task), read when they are asked
            for; where two cells share documents they are compared pair by pair.

        layers: errors of matrices, where a stage recorded them, one row per cell and matrix: cell,
            name, weights, error (of its output, relative), energy (of its output before, per
            token), direction (share of its inputs' energy in their first direction).
        race: how the cells were raced; None where they were not.

    Cells and scores are copied, completed with the absent columns and put in one canonical order,
    so that equal results give equal output whatever order they were collected in.

    Raises:
        BadResults: on construction, when the tables contradict themselves.
    """

    cells: pd.DataFrame
    scores: pd.DataFrame
    documents: Documents = field(default_factory=Documents)
    layers: pd.DataFrame = field(default_factory=pd.DataFrame)
    race: RaceRecord | None = None

    def __post_init__(self) -> None:
        cells = _typed(self.cells, "cells", CELL_TEXT, CELL_NUMBERS, CELL_FLAGS, CELL_REQUIRED)
        scores = _typed(
            self.scores, "scores", SCORE_TEXT, SCORE_NUMBERS, SCORE_FLAGS, SCORE_REQUIRED
        )
        cells = cells.assign(
            prune_method=cells["prune_method"].replace("none", ""),
            pattern=cells["pattern"].replace("none", ""),
            quant_method=cells["quant_method"].replace("none", ""),
            mask=cells["mask"].replace("", "none"),
            collapsed=cells["collapsed"].fillna(False),
            rerun=cells["rerun"].fillna(0.0),
            achieved_tcr=cells["achieved_tcr"].where(
                cells["achieved_tcr"].notna(),
                achieved_tcr(cells["achieved_sparsity"], cells["bits"]),
            ),
        )
        scores = scores.assign(
            collapsed=scores["collapsed"].fillna(False), stopped=scores["stopped"].fillna(False)
        )
        _check_cells(cells)
        _check_scores(scores, cells)
        cells = cells.assign(method=cells["method"].where(cells["method"] != "", _described(cells)))
        object.__setattr__(self, "cells", _ordered_cells(cells))
        order = ["cell", "task", "metric"]
        object.__setattr__(self, "scores", scores.sort_values(order, ignore_index=True))

    def save(self, directory: Path) -> None:
        """Write `cells.csv`, `scores.csv` and, if there are any, `documents.parquet`."""
        directory.mkdir(parents=True, exist_ok=True)
        self.cells.to_csv(directory / "cells.csv", index=False)
        self.scores.to_csv(directory / "scores.csv", index=False)
        if self.documents:
            self.documents.save(directory / "documents.parquet")

    @classmethod
    def load(cls, directory: Path) -> Results:
        """Read what `save` wrote.

        Raises:
            BadResults: if a file is absent or its content is refused.
        """
        documents = directory / "documents.parquet"
        return cls(
            cells=_read(directory / "cells.csv"),
            scores=_read(directory / "scores.csv"),
            documents=Documents.load(documents) if documents.is_file() else Documents(),
        )


def made_again(cell: str, number: int) -> str:
    """The key of a cell that was made again elsewhere, the `number`-th time."""
    return f"{cell}{AGAIN}{number}"


def first_of(cell: str) -> str:
    """The key of the cell that one made again elsewhere repeats; of another cell, its own."""
    return cell.partition(AGAIN)[0]


def is_dense(cells: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are the dense baseline of their model: sparsity 0 and 16 bit, no rerun."""
    return (cells["sparsity"] == 0) & (cells["bits"] == 16) & (cells["rerun"] == 0)


def _described(cells: pd.DataFrame) -> pd.Series[str]:
    """Per cell its columns of `METHOD` as one text; what is absent is left out."""
    rows = cells[list(METHOD)].to_dict("records")
    told = [
        ", ".join(f"{name}={value}" for name, value in row.items() if not _absent(value))
        for row in rows
    ]
    return pd.Series(told, index=cells.index, dtype=object)


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise BadResults(
            f"{path} does not exist; a directory of results holds cells.csv and scores.csv"
        )
    # As text: pandas' own float parser may be off by the last digit, and 1/3 must stay 1/3.
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _typed(
    frame: pd.DataFrame,
    name: str,
    text: Sequence[str],
    numbers: Sequence[str],
    flags: Sequence[str],
    required: Sequence[str],
) -> pd.DataFrame:
    """The frame with exactly the known columns, each in its own type."""
    known = [*text, *numbers, *flags]
    if unknown := [c for c in frame.columns if c not in known]:
        raise BadResults(f"{name} has unknown columns {unknown}; valid: {', '.join(known)}")
    if absent := [c for c in required if c not in frame.columns]:
        raise BadResults(f"{name} lacks the columns {absent}; required: {', '.join(required)}")
    typed: dict[str, object] = {}
    for column in known:
        values = list(frame[column]) if column in frame else [None] * len(frame)
        if column in text:
            typed[column] = pd.Series([_text(v) for v in values], dtype=object)
        elif column in numbers:
            typed[column] = np.array([_number(v, name, column) for v in values], dtype=float)
        else:
            typed[column] = pd.array([_flag(v, name, column) for v in values], dtype="boolean")
    return pd.DataFrame(typed)


def _absent(value: object) -> bool:
    return value is None or value is pd.NA or value == "" or value != value


def _text(value: object) -> str:
    return "" if _absent(value) else str(value)


def _number(value: object, name: str, column: str) -> float:
    if _absent(value):
        return float("nan")
    try:
        return float(value)  # type: ignore[arg-type]  # whatever it is, float() decides
    except (TypeError, ValueError):
        raise BadResults(f"{name}.{column} holds {value!r}, which is not a number") from None


def _flag(value: object, name: str, column: str) -> bool | None:
    if _absent(value):
        return None
    truth = _TRUTH.get(str(value).lower())
    if truth is None:
        raise BadResults(f"{name}.{column} holds {value!r}; valid: true, false or empty")
    return truth


def _refuse(rows: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raise with the first three offending rows, unless there are none."""
    if rows.empty:
        return
    shown = [", ".join(f"{c}={row[c]}" for c in columns) for _, row in rows.iterrows()]
    raise BadResults(f"{what}: {listed(shown, 3)}")


def _check_cells(cells: pd.DataFrame) -> None:
    named = ["cell", "label"]
    _refuse(cells[cells["cell"] == ""], ["label", "model"], "cells without a key")
    _refuse(cells[cells["cell"].duplicated(keep=False)], named, "duplicate cells")
    _refuse(cells[cells["model"] == ""], named, "cells without a model")
    _refuse(
        cells[~cells["status"].isin(STATUSES)],
        ["cell", "status"],
        f"unknown status (valid: {', '.join(STATUSES)})",
    )
    _refuse(
        cells[~cells["mask"].isin(MASKS)],
        ["cell", "mask"],
        f"unknown mask (valid: {', '.join(MASKS)})",
    )
    fraction = cells["sparsity"].between(0, 1, inclusive="left")
    _refuse(
        cells[~fraction],
        ["cell", "sparsity"],
        "sparsity is a fraction from 0 to below 1 (0.25 for 25 %)",
    )
    _refuse(
        cells[~((cells["bits"] > 0) & (cells["bits"] <= 16))],
        ["cell", "bits"],
        "bits lie above 0 and up to 16 (16 means unquantized)",
    )
    unquantized = (cells["quant_method"] == "") == (cells["bits"] == 16)
    _refuse(
        cells[~unquantized],
        ["cell", "quant_method", "bits"],
        "16 bit means no quantization method, fewer bits need one",
    )
    for column in ("achieved_sparsity", "containment", "containment_mean"):
        known = cells[cells[column].notna()]
        _refuse(known[~known[column].between(0, 1)], ["cell", column], f"{column} lies in 0..1")
    _check_patterns(cells)
    again = cells["rerun"] > 0
    elsewhere = cells["cell"].map(first_of) != cells["cell"]
    _refuse(
        cells[again & ~elsewhere & ~((cells["sparsity"] == 0) & (cells["bits"] == 16))],
        named,
        "in one sweep, only the dense model is scored again",
    )
    dense = cells[is_dense(cells)]
    _refuse(
        dense[dense["model"].duplicated(keep=False)],
        ["model", "cell"],
        "a model has one dense baseline (sparsity 0, 16 bit); more than one here",
    )


def _check_patterns(cells: pd.DataFrame) -> None:
    keys, patterns, sparsities = cells["cell"], cells["pattern"], cells["sparsity"]
    for cell, pattern, sparsity in zip(keys, patterns, sparsities, strict=True):
        match = _N_OF_M.fullmatch(pattern)
        if match and abs(int(match[1]) / max(int(match[2]), 1) - sparsity) < 1e-9:
            continue
        if (pattern == "" and sparsity == 0) or (
            pattern in ("unstructured", *REMOVED) and sparsity > 0
        ):
            continue
        raise BadResults(
            f"cell={cell}: pattern={pattern!r} does not go with sparsity={sparsity}; valid: '' "
            "for an unpruned cell, 'unstructured', 'low-rank', 'structured', or n:m (n of every m "
            "pruned) with n/m equal to the sparsity"
        )


def _check_scores(scores: pd.DataFrame, cells: pd.DataFrame) -> None:
    key = ["cell", "task", "metric"]
    _refuse(scores[~scores["cell"].isin(cells["cell"])], key, "scores of cells that do not exist")
    _refuse(
        scores[(scores["task"] == "") | (scores["metric"] == "")],
        key,
        "scores need a task and a metric",
    )
    _refuse(scores[scores.duplicated(key, keep=False)], key, "duplicate scores")
    _refuse(scores[scores["stderr"] < 0], [*key, "stderr"], "negative standard errors")
    for flag in ("primary", "higher_is_better"):
        _refuse(scores[scores[flag].isna()], key, f"scores that do not say whether {flag}")
    primary = scores[scores["primary"].astype(bool)]
    _refuse(
        primary[primary.duplicated(["cell", "task"], keep=False)],
        key,
        "a task of a cell has one primary metric; more than one here",
    )
    for column in ("higher_is_better", "chance"):
        kinds = scores.dropna(subset=[column]).groupby(["task", "metric"])[column].nunique()
        if len(mixed := kinds[kinds > 1]):
            raise BadResults(f"{column} differs between cells for {sorted(mixed.index)[:3]}")


def _ordered_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """By model, then from the dense cell to the most compressed one."""
    rate = 1 - cells["bits"] / 16 * (1 - cells["sparsity"])
    # Rounded only to sort: equal rates that differ in the last bit must not decide the order.
    ordered = cells.assign(_rate=rate.round(9), _bits=-cells["bits"])
    by = [
        "model",
        "_rate",
        "_bits",
        "pattern",
        "prune_method",
        "quant_method",
        "mask",
        "calibration_seed",
        "cell",
    ]
    return ordered.sort_values(by, ignore_index=True).drop(columns=["_rate", "_bits"])
