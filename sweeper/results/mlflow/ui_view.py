"""What MLflow's UI opens with: a table of the cells, and Sr over TCr and over size as charts.

The UI keeps a shared view as JSON in a tag of the experiment and finds it by a key in
the address (``viewStateShareKey``). That is no public interface: where it changes, the
link opens the plain table, and nothing else depends on it.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from sweeper.results.mlflow.best_cells import FILTER

KEY = "isorate"
TAG = f"mlflow.sharedViewState.{KEY}"

_METRICS = ("Sr", "TCr", "size_mb", "bits_per_weight")
_PARAMS = ("prune", "quant", "sparsity", "bits")
_CHARTS = {"TCr": "Sr over TCr, %", "size_mb": "Sr over size on disk, MB"}
_SECTION = "isorate-answers"


def state() -> str:
    """The view's JSON: the cells sorted by TCr, these columns, and Sr over rate and over size.

    The UI orders columns by name, and more than a screen has would hide the first question's.
    """
    metrics = [f"metrics.`{name}`" for name in _METRICS]
    params = [f"params.`{name}`" for name in _PARAMS]
    return json.dumps(
        {
            "searchFilter": FILTER,
            "orderByKey": "metrics.`TCr`",
            "orderByAsc": False,
            "selectedColumns": [*metrics, *params],
            "compareRunCharts": [_chart(key, title) for key, title in _CHARTS.items()],
            "compareRunSections": [
                {
                    "uuid": _SECTION,
                    "name": "What is kept",
                    "display": True,
                    "columns": 2,
                    "isReordered": False,
                    "deleted": False,
                    "isGenerated": False,
                }
            ],
            "isAccordionReordered": True,  # else the section would stand after the generated ones
        }
    )


def _chart(key: str, title: str) -> dict[str, Any]:
    return {
        "uuid": f"isorate-{key}",
        "type": "SCATTER",
        "displayName": title,
        "metricSectionId": _SECTION,
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
        "xaxis": {"key": key, "type": "METRIC"},
        "yaxis": {"key": "Sr", "type": "METRIC"},
    }


def link(uri: str, experiment: str) -> str:
    """Address of the view: whole for a server, the part after the host for a database."""
    parts = urlsplit(uri)
    host = ""
    if parts.scheme in ("http", "https"):
        host = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
    return f"{host}/#/experiments/{experiment}/runs?viewStateShareKey={KEY}"
