"""How much of the dense model each cell keeps: the numbers of the report, as metrics of a run."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweeper.results import tables
from sweeper.results.mlflow.run import path
from sweeper.results.outcomes import CellOutcome

NAMES = {"sr2": "Sr", "sr1": "Sr1"}
"""Column of `analysis.comparison.summary.summarise` -> metric, with its ``stderr/``."""
RATES = {"srcr_p": "SrCr_p", "srcr_q": "SrCr_q", "srcr_j": "SrCr_j"}
"""The same without: Sr times a weight that is exact."""

log = logging.getLogger(__name__)


def retained(outcomes: Sequence[CellOutcome]) -> dict[str, dict[str, float]]:
    """Cell key -> metric -> value, as `analysis.comparison.summary` computes them for the report.

    ``retention/<task>``, scores of groups of tasks, Sr (which is Sr2) and Sr1, each with
    its ``stderr/``; SrCr_p, SrCr_q, SrCr_j. What the analysis leaves open (no dense cell yet, a
    cell that is not done) is absent.
    """
    from analysis.comparison.summary import retention_table, summarise
    from analysis.data.panel import panels
    from analysis.data.results import BadResults
    from analysis.data.task_groups import pooled

    found: dict[str, dict[str, float]] = {outcome.key: {} for outcome in outcomes}
    if not any(outcome.scores for outcome in outcomes):
        return found
    try:
        results = pooled(tables.results(outcomes))
        by_model = panels(results)
    except BadResults as refused:
        log.warning("MLflow gets the scores but no retention: %s", refused)
        return found
    for row in summarise(by_model).to_dict("records"):
        for column, name in NAMES.items():
            found[row["cell"]] |= _pair(name, row, column)
        rates = {name: float(row[column]) for column, name in RATES.items()}
        found[row["cell"]] |= {k: v for k, v in rates.items() if math.isfinite(v)}
    for row in retention_table(by_model).to_dict("records"):
        found[row["cell"]] |= _pair(path("retention", row["task"]), row, "retention")
    leaves = {outcome.key: outcome.scores for outcome in outcomes}
    for row in results.scores.to_dict("records"):
        if row["task"] not in leaves[row["cell"]]:
            found[row["cell"]] |= _pair(path(row["metric"], row["task"]), row, "value", "stderr")
    return found


def _pair(name: str, row: Mapping[Any, Any], column: str, error: str = "") -> dict[str, float]:
    both = {name: row[column], f"stderr/{name}": row[error or f"{column}_stderr"]}
    return {k: float(v) for k, v in both.items() if math.isfinite(v)}
