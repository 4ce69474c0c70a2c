"""The parameters of a cell's run in MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sweeper.planning.record import CellRecord

LONGEST_PARAM = 500
SECTIONS = {"rescale": "rescale", "rotate": "rotate", "prune": "prune", "quantize": "quant"}
"""Section of a recorded cell -> as the command line calls it."""
_AXES = {
    "pattern": "pattern",
    "bits": "bits",
    "mask": "mask",
    "prune_method": "prune",
    "quant_method": "quant",
    "calibration_seed": "seed",
}
"""What tells cells apart -> the name of the parameter."""
_AXIS_OPTIONS = {"method", "sparsity", "pattern", "bits", "mask", "seed"}
_OF_THE_TEXT = ("name", "samples", "length")
"""Of the calibration; where its text comes from is told by the run's input."""


def parameters(cell: CellRecord) -> dict[str, str]:
    """What a cell was asked for, in the words and units of the command line."""
    params: dict[str, Any] = {"model": cell["model"]}
    params |= {"sparsity": f"{percent(cell['sparsity']):g}"}
    params |= {name: cell.get(axis) for axis, name in _AXES.items()}
    params |= {name: params[name] or "none" for name in ("prune", "quant", "mask")}
    params["rerun"] = cell.get("rerun") or None
    params["pattern"] = cell["pattern"] if cell["sparsity"] else "none"
    params["tasks"] = scored_tasks(cell)
    for section, named in SECTIONS.items():
        for where, value in leaves(cell["config"].get(section) or {}, named):
            if value is not None and where.split("/")[-1] not in _AXIS_OPTIONS:
                params[where.replace("/", ".")] = value
    text = cell["config"].get("calibration") or {}
    params |= {f"calibration.{name}": text.get(name) for name in _OF_THE_TEXT}
    return {k: _text(v)[:LONGEST_PARAM] for k, v in params.items() if v is not None}


def scored_tasks(cell: CellRecord) -> list[str]:
    """Names of the tasks that a cell is planned to be scored on."""
    return sorted(cell["stages"].get("evaluate", {}))


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(slash-joined path, scalar) of a JSON value; lists are leaves.

    Maps keyed by module names ("model.layers.0.q_proj") are left out: a chart per
    layer would bury the others, and the artifact has them.
    """
    if not isinstance(tree, Mapping):
        yield prefix, tree
        return
    for key, value in tree.items():
        if "." not in key:
            yield from leaves(value, f"{prefix}/{key}" if prefix else key)


def percent(share: float) -> float:
    """Of a share; 1/3 stays as near to 33.3 as a number can be, 0.07 is 7."""
    return round(100 * float(share), 9)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(_text(v) for v in value)
    return str(value)
