"""The table that MLflow's UI opens with: rates, SrCr and the primary score of every task.

The UI keeps a shared view as JSON in a tag of the experiment and finds it by a key in
the address (``viewStateShareKey``). That is no public interface: where it changes, the
link opens the plain table, and nothing else depends on it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from sweeper.results.mlflow.run import path
from sweeper.results.outcomes import CellOutcome

KEY = "isorate"
TAG = f"mlflow.sharedViewState.{KEY}"
MOST_COLUMNS = 40

_METRICS = ("TCr", "Sr1", "Sr2", "SrCr_p", "SrCr_q", "SrCr_j")
_PARAMS = ("model", "sparsity", "pattern", "bits", "mask")


def columns(outcomes: Sequence[CellOutcome]) -> str:
    """The view's JSON: sorted by TCr, with these columns."""
    scores = {
        path(str(result["primary"]).split(",")[0], task)
        for outcome in outcomes
        for task, result in outcome.scores.items()
    }
    metrics = [f"metrics.`{name}`" for name in (*_METRICS, *sorted(scores))]
    params = [f"params.`{name}`" for name in _PARAMS]
    chosen = [*metrics[:MOST_COLUMNS], *params]
    return json.dumps(
        {"orderByKey": "metrics.`TCr`", "orderByAsc": False, "selectedColumns": chosen}
    )


def link(uri: str, experiment: str) -> str:
    """Address of the view: whole for a server, the part after the host for a database."""
    parts = urlsplit(uri)
    host = ""
    if parts.scheme in ("http", "https"):
        host = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
    return f"{host}/#/experiments/{experiment}/runs?viewStateShareKey={KEY}"
