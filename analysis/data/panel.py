"""One model's scores as arrays, cells by tasks, with a reason wherever a number cannot count.

The metrics need aligned arrays; this is the one place where a row of a table becomes
an element of an array, and so the one place that decides what is a gap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, wraps

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data import looks
from analysis.data.alignment import (
    NO_BASELINE,
    Grid,
    anchor,
    dense_row,
    gaps,
    honest_stderr,
    remarks,
)
from analysis.data.common_documents import alike
from analysis.data.documents import Documents
from analysis.data.paired import Sample, sample
from analysis.data.results import Results
from analysis.data.score_limits import limits
from analysis.metrics import Array, Estimate, Rows, retention, sr1, sr2, unbounded
from analysis.output.text import listed

CHANCE_STDERRS = 2.0


def _kept(compute: Callable[[Panel], Estimate]) -> Callable[[Panel], Estimate]:
    """Computed once for a panel, which never changes; tables and figures all ask."""
    name = f"_{compute.__name__}"

    @wraps(compute)
    def found(panel: Panel) -> Estimate:
        if name not in panel.__dict__:
            panel.__dict__[name] = compute(panel)
        kept: Estimate = panel.__dict__[name]
        return kept

    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """The primary scores of one model; C cells, T tasks.

    Attributes:
        model: the model all cells come from.
        cells: C rows of `Results.cells`, in its order.
        tasks: T names, sorted.
        metrics: T names of the primary metric (the baseline's where there is one).
        higher: (T,) whether higher is better.
        value: (C, T) scores, nan where absent.
        so_far: (C, T) scores of evaluations that were given up, nan elsewhere; to be shown,
            never to be compared.
        stderr: (C, T) standard errors of both, nan where unknown.
        n: (C, T) documents.
        gap: (C, T) why a score cannot be compared with the baseline's; "" if it can.
        remark: (C, T) what to know of a comparison that stands; "" if nothing.
        weighed: (T,) of a group of subtasks, what they weigh by in its mean: "size", all their
            documents, or "asked" where sizes are not known; "" for a task of its own.
        looks: (T,) how many documents had been asked (of each subtask) when the sweep was looked
            at before; empty where no documents were added since.
        unextracted: (C, T) generated answers in which nothing was found to score.
        levels: (T,) what guessing scores, nan where it is unknown or means nothing.
        chance: (T,) why the task's baseline says nothing; "" if it does.
        baseline: the row of the dense cell; None when there is none with scores.
        documents: scores of single documents, where they are known.
    """

    model: str
    cells: pd.DataFrame
    tasks: tuple[str, ...]
    metrics: tuple[str, ...]
    higher: NDArray[np.bool_]
    value: Array
    so_far: Array
    stderr: Array
    n: Array
    gap: NDArray[np.object_]
    remark: NDArray[np.object_]
    weighed: tuple[str, ...]
    looks: tuple[tuple[int, ...], ...]
    unextracted: Array
    levels: Array
    chance: tuple[str, ...]
    baseline: int | None
    documents: Documents = field(default_factory=Documents)

    @cached_property
    def samples(self) -> tuple[Sample | None, ...]:
        """(T,) the documents that cells share, per task; read on the first use."""
        if not self.documents:
            return (None,) * len(self.tasks)
        cells, usable = list(self.cells["cell"]), self.comparable()
        pairs = enumerate(zip(self.tasks, self.metrics, strict=True))
        return tuple(
            sample(self.documents, cells, task, metric, usable[:, i], first=self.baseline)
            for i, (task, metric) in pairs
        )

    @unbounded()
    def covariance(self, task: int, rows: Rows) -> Array:
        """(k, k) covariance of the scores of k cells on one task; diagonal without documents."""
        picked = np.asarray(rows, dtype=int)
        unpaired = self.stderr[picked, task] ** 2
        shared = self.samples[task]
        return np.diag(unpaired) if shared is None else shared.covariance(picked, unpaired)

    def paired(self, first: int, second: int) -> bool:
        """Whether two cells share the documents of every counted task that has a score."""
        pair = [first, second]
        return any(self.counted) and all(
            s is not None and bool(s.shared[pair].all())
            for s, counted in zip(self.samples, self.counted, strict=True)
            if counted
        )

    @cached_property
    def _spread(self) -> tuple[Array, Array]:
        """(C, T) variances of the scores, and their covariances with the baseline's."""
        with np.errstate(over="ignore"):  # a collapsed perplexity's error has no finite square
            variance, shared = self.stderr**2, np.zeros(self.value.shape)
        for task, found in enumerate(self.samples):
            if found is None or self.baseline is None:
                continue
            for row in np.flatnonzero(found.shared):
                pair = self.covariance(task, (int(row), self.baseline))
                variance[row, task], shared[row, task] = pair[0, 0], pair[0, 1]
        return variance, shared

    @property
    def dense(self) -> Estimate:
        """(T,) the baseline's scores; nan without one."""
        if self.baseline is None:
            nothing = np.full(len(self.tasks), np.nan)
            return Estimate(value=nothing, stderr=nothing)
        return Estimate(value=self.value[self.baseline], stderr=self.stderr[self.baseline])

    @property
    def counted(self) -> NDArray[np.bool_]:
        """(T,) the tasks that Sr is taken over: those with a score of the baseline."""
        return np.asarray(np.isfinite(self.dense.value))

    @property
    def same(self) -> NDArray[np.bool_]:
        """(C, 1) which cell is the baseline itself."""
        rows = np.arange(len(self.cells))[:, None]
        return np.asarray(rows == (-1 if self.baseline is None else self.baseline))

    @property
    def stopped(self) -> NDArray[np.bool_]:
        """(C, T) which evaluations were given up with a score so far."""
        return np.isfinite(self.so_far)

    @property
    def shown(self) -> Array:
        """(C, T) the scores, and those so far of evaluations that were given up."""
        return np.where(self.stopped, self.so_far, self.value)

    @cached_property
    def limits(self) -> tuple[Array, Array]:
        """(C, T) 95 % limits of the scores by themselves, see `score_limits`."""
        share = np.broadcast_to(self.higher, self.value.shape)
        share = share & (self.value >= 0) & (self.value <= 1)
        return limits(self.value, np.sqrt(self._spread[0]), self.n, share)

    def comparable(self) -> Array:
        """(C, T) the scores, nan where they cannot be compared with the baseline's."""
        return np.where(self.gap == "", self.value, np.nan)

    @_kept
    def retentions(self) -> Estimate:
        """(C, T) R_t, eq. 10."""
        variance, shared = self._spread
        own = np.sqrt(variance)
        return retention(
            self.comparable(),
            own,
            self.dense.value,
            self._dense_row(own),
            higher_is_better=self.higher,
            same=self.same,
            covariance=shared,
        )

    @_kept
    def sr1(self) -> Estimate:
        """(C,) eq. 11 over all counted tasks, perplexities among them as P_o/P_c."""
        each = self.retentions()
        kept = self.counted
        return sr1(Estimate(value=each.value[:, kept], stderr=each.stderr[:, kept]))

    @_kept
    def sr2(self) -> Estimate:
        """(C,) eq. 12 over the counted tasks where higher is better."""
        kept = self.counted & self.higher
        variance, shared = self._spread
        own = np.sqrt(variance)
        return sr2(
            self.comparable()[:, kept],
            own[:, kept],
            self.dense.value[kept],
            self._dense_row(own)[kept],
            same=self.same[:, 0],
            covariance=shared[:, kept].sum(axis=1),
        )

    def _dense_row(self, table: Array) -> Array:
        return self.dense.stderr if self.baseline is None else table[self.baseline]

    def why_no_sr(self, row: int) -> str:
        """Why a cell has no Sr: its first gaps among the counted tasks; "" when it has none."""
        if self.baseline is None:
            return NO_BASELINE
        kept = self.counted
        reasons = [
            f"{t}: {g}"
            for t, g in zip(np.array(self.tasks)[kept], self.gap[row, kept], strict=True)
            if g
        ]
        return listed(reasons, 2)


def panels(results: Results) -> list[Panel]:
    """One panel per model, in the order of the cells; reruns are no cells to compare.

    Scores of other documents than the baseline's are taken on those in common, or set apart.
    """
    results = alike(results)
    primary = results.scores[results.scores["primary"].astype(bool)]
    compared = results.cells[results.cells["rerun"] == 0]
    by_model = compared.groupby("model", sort=False)
    return [_panel(str(model), cells, primary, results.documents) for model, cells in by_model]


def _panel(model: str, cells: pd.DataFrame, primary: pd.DataFrame, documents: Documents) -> Panel:
    cells = cells.reset_index(drop=True)
    scores = primary[primary["cell"].isin(cells["cell"])]
    tasks = tuple(sorted(scores["task"].unique(), key=lambda t: (t.casefold(), t)))
    grid = Grid(cells, scores, tasks)
    baseline = dense_row(cells, grid)
    read_by = anchor(grid, baseline)
    higher = grid.spread("higher_is_better", False)[read_by, np.arange(len(tasks))].astype(bool)
    stopped = grid.spread("stopped", False).astype(bool)
    measured = grid.spread("value", np.nan).astype(float)
    value = np.where(stopped, np.nan, measured)
    panel = Panel(
        model=model,
        cells=cells,
        tasks=tasks,
        metrics=tuple(grid.spread("metric", "")[read_by, np.arange(len(tasks))]),
        higher=higher,
        value=value,
        so_far=np.where(stopped, measured, np.nan),
        stderr=honest_stderr(grid, value, higher),
        n=grid.spread("n", np.nan).astype(float),
        gap=gaps(grid, value, baseline),
        remark=remarks(grid, baseline),
        weighed=_weighed(grid),
        looks=_looks(grid),
        unextracted=grid.spread("unextracted", np.nan).astype(float),
        levels=grid.spread("chance", np.nan).astype(float)[read_by, np.arange(len(tasks))],
        chance=("",) * len(tasks),
        baseline=baseline,
        documents=documents,
    )
    object.__setattr__(panel, "chance", _chance(panel, panel.levels))
    return panel


def _looks(grid: Grid) -> tuple[tuple[int, ...], ...]:
    """Per task, the earlier looks at any cell: two are compared as often as either was seen."""
    columns = grid.spread("looks", "").T
    return tuple(looks.read(looks.said(i for t in one for i in looks.read(t))) for one in columns)


def _weighed(grid: Grid) -> tuple[str, ...]:
    parts, size = (grid.spread(name, np.nan).astype(float) for name in ("parts", "size"))
    known = np.where(np.isfinite(size).any(axis=0), "size", "asked")
    return tuple(np.where(np.isfinite(parts).any(axis=0), known, "").tolist())


def _chance(panel: Panel, levels: Array) -> tuple[str, ...]:
    """Per task, whether its baseline is within two standard errors of guessing (or below)."""
    said = []
    for value, stderr, level, up in zip(
        panel.dense.value, panel.dense.stderr, levels, panel.higher, strict=True
    ):
        if not up or not np.isfinite(level) or not np.isfinite(value):
            said.append("")
        elif not np.isfinite(stderr):
            said.append(f"chance is {level:.3g} and the baseline {value:.3g} has no standard error")
        elif value - CHANCE_STDERRS * stderr <= level:
            said.append(f"the baseline, {value:.3g} ± {stderr:.2g}, is at chance ({level:.3g})")
        else:
            said.append("")
    return tuple(said)
