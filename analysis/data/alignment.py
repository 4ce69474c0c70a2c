"""Rows of tables at their place in arrays, cells by tasks, and a reason for every gap."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data.devices import differ
from analysis.data.results import is_dense
from analysis.metrics import Array, wilson_stderr

NO_BASELINE = "no dense baseline"
_MUST_AGREE = {
    "metric": "metric",
    "version": "task version",
    "backend": "backend",
    "dtype": "precision",
}
_NOT_ALWAYS_KNOWN = ("backend", "dtype")  # of published or imported scores


class Grid:
    """Places one column of the score table at (cell, task)."""

    def __init__(self, cells: pd.DataFrame, scores: pd.DataFrame, tasks: tuple[str, ...]) -> None:
        """C cells and the scores of their T tasks."""
        row = {cell: i for i, cell in enumerate(cells["cell"])}
        column = {task: j for j, task in enumerate(tasks)}
        self.cells, self.scores, self.shape = cells, scores, (len(row), len(column))
        self.rows = scores["cell"].map(row).to_numpy(dtype=int)
        self.columns = scores["task"].map(column).to_numpy(dtype=int)
        self.present = np.zeros(self.shape, dtype=bool)
        self.present[self.rows, self.columns] = True

    def spread(self, name: str, absent: object) -> NDArray[np.object_]:
        """(C, T) the column, `absent` where a cell has no score of a task."""
        array = np.full(self.shape, absent, dtype=object)
        array[self.rows, self.columns] = self.scores[name].to_numpy(dtype=object)
        return array


def dense_row(cells: pd.DataFrame, grid: Grid) -> int | None:
    """The row of the dense cell that is done and scored; None when there is none."""
    usable = is_dense(cells).to_numpy() & (cells["status"] == "done").to_numpy()
    rows = np.flatnonzero(usable & grid.present.any(axis=1))
    return int(rows[0]) if len(rows) else None


def anchor(grid: Grid, baseline: int | None) -> NDArray[np.int_]:
    """(T,) the row whose metric a task is read by: the baseline's, or the first that has it."""
    first = np.asarray(grid.present.argmax(axis=0), dtype=np.int_)
    if baseline is None:
        return first
    return np.where(grid.present[baseline], np.int_(baseline), first)


def honest_stderr(grid: Grid, value: Array, higher: NDArray[np.bool_]) -> Array:
    """(C, T) standard errors; a score of 0 or of all documents has that of Wilson."""
    stderr = grid.spread("stderr", np.nan).astype(float)
    n = grid.spread("n", np.nan).astype(float)
    # 0 of n has a binomial standard error of 0, as if it were known for certain.
    certain = higher & (stderr == 0) & ((value == 0) | (value == 1)) & (n > 0)
    stderr[certain] = wilson_stderr(value[certain], n[certain])
    return stderr


def gaps(grid: Grid, value: Array, baseline: int | None) -> NDArray[np.object_]:
    """(C, T) why a score cannot be compared with the baseline's; "" if it can."""
    gap = np.full(grid.shape, "", dtype=object)

    def mark(where: NDArray[np.bool_], why: str | NDArray[np.object_]) -> None:
        where = np.broadcast_to(where, grid.shape) & (gap == "")
        gap[where] = np.broadcast_to(np.asarray(why, dtype=object), grid.shape)[where]

    cells = grid.cells
    status, reason = cells["status"].to_numpy(object), cells["reason"].to_numpy(object)
    whole = np.array([f"{s}: {r}" if r else s for s, r in zip(status, reason, strict=True)], object)
    mark((status != "done")[:, None], whole[:, None])
    mark(~grid.present, "not scored")
    mark(grid.spread("stopped", False).astype(bool), _stopped(grid))
    mark(~np.isfinite(value), "the score is not a finite number")
    if baseline is None:
        mark(np.array(True), NO_BASELINE)
        return gap
    dense = value[baseline]
    mark(~grid.present[baseline], "the baseline has no score")
    mark(~np.isfinite(dense), "the baseline's score is not a finite number")
    for column, word in _MUST_AGREE.items():
        mine = grid.spread(column, "")
        theirs = np.broadcast_to(mine[baseline], grid.shape)
        if column in _NOT_ALWAYS_KNOWN:
            theirs = np.where((mine == "") | (theirs == ""), mine, theirs)
        # Only the odd ones are spelled out: a thousand cells have ten thousand scores.
        for row, task in zip(*np.nonzero((mine != theirs) & (gap == "")), strict=True):
            said = (mine[row, task] or "?", theirs[row, task] or "?")
            gap[row, task] = f"{word} {said[0]} against the baseline's {said[1]}"
    unlike = grid.spread("unlike", "")
    mark(unlike != "", unlike)
    mark(dense == 0, "the baseline is 0")
    mark(dense < 0, "the baseline is below 0")
    return gap


def _stopped(grid: Grid) -> NDArray[np.object_]:
    """(C, T) what is said of a score whose evaluation was given up."""
    counts = grid.spread("n", np.nan).astype(float).ravel()
    said = [f"collapsed: given up after {count:.0f} documents" for count in counts]
    return np.array(said, dtype=object).reshape(grid.shape)


def remarks(grid: Grid, baseline: int | None) -> NDArray[np.object_]:
    """(C, T) what to know of a comparison that stands; "" if nothing."""
    cells, remark = grid.cells, grid.spread("common", "")
    if baseline is None:
        return remark
    device, made = list(cells["device"]), list(cells["compressed_on"])
    own = device[baseline]
    for row in range(len(cells)):
        if differ(device[row], own):
            said = f"scored on {device[row]}, the baseline on {own}"
            remark[row] = [f"{said}; {one}" if one else said for one in remark[row]]
        if differ(made[row], own):
            said = f"compressed on {made[row]}, the baseline scored on {own}"
            remark[row] = [f"{one}; {said}" if one else said for one in remark[row]]
    return remark
