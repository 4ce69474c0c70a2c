"""Whether a task's score is a sum over documents, so that cells can be paired by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.inputs.tasks import index as indexs
from sweeper.inputs.tasks.catalog import Lookup

SUMS = ("mean", "perplexity", "weighted_perplexity", "bits_per_byte")
"""lm-eval's aggregations that follow from a sum over documents."""


def unpaired(name: str, lookup: Lookup) -> str:
    """The metric of a task that is no sum over documents, with its aggregation; "" if it is one.

    The metric is the one that stands for the task: the one it names, else the first it lists. What
    a task's own Python code does is not known before it is scored.
    """
    entry, own = lookup.find(name)
    if entry is None or entry["kind"] != "task":
        return ""
    config = indexs.merged((own or indexs.directory()) / entry["path"])
    metric = _primary(config)
    registered = indexs.aggregations()
    how = str(metric.get("aggregation") or registered.get(str(metric.get("metric")), ""))
    whole = how in registered.values() and how not in SUMS
    return f"{metric['metric']}, aggregated by {how}" if whole else ""


def _primary(config: Mapping[str, Any]) -> Mapping[str, Any]:
    listed = config.get("metric_list")
    entries = [e for e in (listed if isinstance(listed, list) else []) if isinstance(e, dict)]
    named = (config.get("metadata") or {}).get("primary_metric")
    own = [entry for entry in entries if entry.get("metric") == named]
    return next(iter([*own, *entries]), {})
