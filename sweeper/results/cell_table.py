"""One flat row a cell, with the units of the command line: what a notebook works on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.data.results import Results

Row = dict[str, Any]

PLAIN = {
    "label": "cell",
    "model": "model",
    "status": "status",
    "reason": "reason",
    "kind": "kind",
    "prune_method": "prune",
    "pattern": "pattern",
    "sparsity": "sparsity",
    "quant_method": "quant",
    "bits": "bits",
    "mask": "mask",
    "calibration_seed": "seed",
    "tcr": "tcr",
    "bytes": "size_mb",
    "bits_per_weight": "bits_per_weight",
    "containment": "mask_kept",
    "sr2": "sr",
    "sr2_stderr": "sr_stderr",
    "sr1": "sr1",
    "sr1_stderr": "sr1_stderr",
    "srcr_p": "srcr_p",
    "srcr_q": "srcr_q",
    "srcr_j": "srcr_j",
    "collapsed": "collapsed",
    "unproved": "unproved",
    "why": "why_no_sr",
    "cell": "key",
}
"""Column of `analysis.comparison.summary.summarise` -> column here, in this order."""
_SCALE = {"sparsity": 100.0, "tcr": 100.0, "mask_kept": 100.0, "size_mb": 1e-6}
_OF_A_TASK = {
    "value": "score",
    "stderr": "score_stderr",
    "retention": "kept",
    "retention_stderr": "kept_stderr",
}


def rows(results: Results) -> list[Row]:
    """Every cell by model, TCr, then Sr; what is not known is None.

    Percent where the command line has percent (sparsity, tcr, mask_kept), size in 10^6 bytes, Sr is
    Sr2 (arXiv:2505.07289), each ``_stderr`` one standard error. A task adds
    ``score/<task>`` and ``kept/<task>``, its share of the dense model's score (eq. 10).
    """
    from analysis.comparison.summary import retention_table, summarise
    from analysis.data.panel import panels
    from analysis.data.task_groups import pooled

    groups = panels(pooled(results))
    found = [_row(each) for each in summarise(groups).to_dict("records")]
    for row in found:
        if not row["sparsity"]:
            row["mask_kept"] = None
    known = {row["key"]: row for row in found}
    for each in retention_table(groups).to_dict("records"):
        task = {f"{new}/{each['task']}": _plain(each[old]) for old, new in _OF_A_TASK.items()}
        known[each["cell"]].update(task)
    return sorted(found, key=lambda row: (row["model"], row["tcr"], -(row["sr"] or 0.0)))


def _row(each: Mapping[Any, Any]) -> Row:
    values = {new: _plain(each[old]) for old, new in PLAIN.items()}
    for name, factor in _SCALE.items():
        if values[name] is not None:
            values[name] = round(values[name] * factor, 9)  # thirds stay, 0.1 + 0.2 does not
    return values


def _plain(value: Any) -> Any:
    """A value of Python's own; None for what is not a number."""
    if value is None or isinstance(value, str | bool):
        return value
    try:
        number = float(value)
    except TypeError:  # pandas' own word for what is not known
        return None
    return number if math.isfinite(number) else None
