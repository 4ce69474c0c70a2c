"""What became of the cells as the tables that `analysis` works on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.planning.record import CellRecord
from sweeper.results import cluster_usage
from sweeper.results.outcomes import CellOutcome, Json, compressed_on, devices
from sweeper.store.hashing import key_of

if TYPE_CHECKING:
    from analysis.data.results import Results

Row = dict[str, Any]
ALL = "all documents"

MEASURED = {
    "achieved_sparsity": "achieved_sparsity",
    "achieved_tcr": "rate/achieved",
    "containment": "containment/min",
    "containment_mean": "containment/mean",
    "nm_valid": "nm_valid",
    "bits_per_weight": "bits_per_weight/total",
    "stored_bits": "bits_per_weight/stored",
    "entropy_bits": "bits_per_weight/entropy",
    "unproved": "unproved",
    "bytes": "bytes/checkpoint",
    "linear_weights": "linear_weights",
    "total_weights": "total_weights",
    "macs": "macs",
}
"""Column of `analysis.data.results.Results` -> where the result of `measure` has it."""


def cell_rows(outcomes: Iterable[CellOutcome]) -> list[Row]:
    """The `cells` table of `analysis.data.results.Results`: one row per planned cell."""
    return [_cell_row(outcome) for outcome in outcomes]


def score_rows(outcomes: Iterable[CellOutcome]) -> list[Row]:
    """The `scores` table of `analysis.data.results.Results`: one row per cell, task and metric."""
    return [
        row
        for outcome in outcomes
        for home in [_groups(outcome.cell)]
        for task, result in outcome.scores.items()
        for asked in [result.get("asked") or _asked(outcome.cell, task, home.get(task, ""), result)]
        for row in _score_rows(outcome.key, task, home.get(task, ""), result)
        for row in [row | {"asked": asked, "size": _size(result, asked, row["n"])}]
        for row in [row | {"looks": _looks(outcome.cell, task)}]
    ]


def results(outcomes: Sequence[CellOutcome]) -> Results:
    """The tables and where the documents are: what `analysis` works on (imports pandas)."""
    import pandas as pd

    from analysis.data import results as tables
    from analysis.data.documents import Documents

    scored = score_rows(outcomes)
    # A table without rows has no columns of its own, and no scores yet is no error.
    scores = pd.DataFrame(scored, columns=None if scored else list(tables.SCORE_REQUIRED))
    paths = {
        (outcome.key, stage.task): stage.documents
        for outcome in outcomes
        for stage in outcome.stages
        if stage.documents is not None and stage.task in outcome.scores
    }
    return tables.Results(
        cells=pd.DataFrame(cell_rows(outcomes)),
        scores=scores,
        documents=Documents(paths),
        layers=pd.DataFrame(layer_rows(outcomes)),
    )


def layer_rows(outcomes: Iterable[CellOutcome]) -> list[Row]:
    """The `layers` table: one row per cell and matrix that a stage recorded the error of.

    A record that was lost or cut off is no reason to have no report: it is left out.
    """
    found, read = list[Row](), dict[Path, list[Row]]()
    for outcome in outcomes:
        for stage in outcome.stages:
            path = stage.layer_errors
            if path is None or outcome.status != "done":
                continue
            if path not in read:
                read[path] = _read_json(path)
            found += [{"cell": outcome.key, **row} for row in read[path]]
    return found


def _read_json(path: Path) -> list[Row]:
    try:
        rows: list[Row] = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    return rows


def _groups(cell: CellRecord) -> dict[str, str]:
    """Leaf task -> the group that it is a part of."""
    groups = cell.get("config", {}).get("groups", {})
    return {task: group for group, tasks in groups.items() for task in tasks}


def _cell_row(outcome: CellOutcome) -> Row:
    cell, measured = outcome.cell, outcome.measured or {}
    row: Row = {"cell": outcome.key, "label": cell["label"], "model": cell["model"]}
    named = ("prune_method", "sparsity", "pattern", "quant_method", "bits", "mask")
    row |= {name: cell.get(name) for name in named}
    row["pattern"] = cell.get("pattern", "") if cell["sparsity"] else ""
    row |= {"calibration_seed": cell.get("calibration_seed"), "rerun": cell.get("rerun", 0)}
    row |= {"status": outcome.status, "reason": outcome.reason}
    row |= {"origin": cell.get("origin", ""), "method": _method(row, cell.get("config", {}))}
    row["base"] = cell.get("config", {}).get("model", {}).get("base", "")
    row |= {"group_size": cell.get("config", {}).get("quantize", {}).get("group_size")}
    row |= _profiles(cell.get("config", {})) | _jsq(cell.get("config", {}))
    row |= _measures(measured)
    row["scale_bits"] = _scale_bits(cell, measured)
    row["collapsed"] = any(bool(r.get("collapsed")) for r in outcome.scores.values())
    row["seconds"] = sum(s.facts.get("seconds", 0.0) for s in outcome.stages)
    row |= {"device": devices(outcome), "compressed_on": compressed_on(outcome)}
    hours = cluster_usage.metrics({stage.name: stage.facts for stage in outcome.stages})
    row["gpu_hours"] = hours.get(("gpu_hours", "cell"))
    return row


def _method(row: Row, config: Json) -> str:
    """Hash of what a cell is but for its model's name, calibration seed and tasks."""
    text = {k: v for k, v in (config.get("calibration") or {}).items() if k != "seed"}
    return key_of(
        {
            "sparsity": float(row["sparsity"]),
            "pattern": row["pattern"],
            "bits": float(row["bits"]),
            "mask": row["mask"] or "none",
            **{name: row[name] or "none" for name in ("prune_method", "quant_method")},
            "prune": config.get("prune"),
            "quantize": config.get("quantize"),
            "calibration": text,
            "compressed": config.get("model", {}).get("compressed"),
            **({"rotate": config["rotate"]} if "rotate" in config else {}),
        }
    )


def _profiles(config: Json) -> Row:
    """How sparsity and bits are spread over matrices; "" where all are alike."""
    quantized = config.get("quantize", {})
    own = quantized.get("profile", "")
    mixed = "widths" in quantized  # else it is the profile of a quantizer that prunes too
    return {
        "prune_profile": config.get("prune", {}).get("profile", "") or ("" if mixed else own),
        "quant_profile": own if mixed else "",
    }


def _jsq(config: Json) -> Row:
    """What tells the cells of JSQ's ablations apart."""
    pruned, text = config.get("prune", {}), config.get("calibration", {})
    strengths = pruned.get("strengths") or []
    editing = f"{strengths[0]:g}" if len(strengths) == 1 else "searched" if strengths else ""
    return {
        "editing": editing,
        "range_weight": pruned.get("range_weight"),
        "calibration_samples": text.get("samples"),
    }


def _measures(measured: Json) -> Row:
    """The measured columns that are known, found by their path in the result of `measure`."""
    row = {column: _at(measured, path) for column, path in MEASURED.items()}
    share = row["nm_valid"]  # of the groups; the table asks whether it is all of them
    return row | {"nm_valid": None if share is None else share == 1}


def _scale_bits(cell: CellRecord, measured: Json) -> float | None:
    """Of scales and zero points: as measured, else as the method said when it was planned."""
    found = [_at(measured, f"bits_per_weight/{part}") for part in ("scales", "zero_points")]
    planned: float | None = cell.get("scale_bits")
    return planned if None in found else sum(found)


def _at(tree: Any, path: str) -> Any:
    for part in path.split("/"):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _asked(cell: CellRecord, task: str, group: str, result: Json) -> str:
    """Which documents an evaluation of ours was asked, as `asked` of the scores."""
    section = cell.get("config", {}).get("tasks", {})
    limits = section.get("limits") or {}
    limit = limits.get(task, limits.get(group, section.get("limit")))
    count = result["metrics"][result["primary"]].get("n")
    if limit is None or (count is not None and count < limit):
        return ALL
    return f"the first {limit} of the order of seed {section.get('order_seed')}"


def _looks(cell: CellRecord, task: str) -> str:
    """Documents of a task that were asked at other looks, as `analysis.data.looks` reads them."""
    return " ".join(str(limit) for limit in cell.get("looks", {}).get(task, ()))


def _size(result: Json, asked: str, n: float | None) -> float | None:
    """All documents of a task; of a score that does not say, known where all were asked."""
    total: float | None = result.get("documents_total")
    return total if total is not None else n if asked == ALL else None


def _score_rows(cell: str, task: str, group: str, result: Json) -> Iterator[Row]:
    for metric, entry in result["metrics"].items():
        primary = metric == result["primary"]
        yield {
            "cell": cell,
            "task": task,
            "group": group,
            "metric": metric,
            "value": entry["value"],
            "stderr": entry.get("stderr"),
            "n": entry.get("n"),
            "higher_is_better": entry["higher_is_better"],
            "chance": result.get("chance") if primary or metric.startswith("acc") else None,
            "primary": primary,
            "version": str(result.get("version", "")),
            "collapsed": bool(result.get("collapsed")),
            "unextracted": result.get("unextracted") if primary else None,
            "stopped": bool(result.get("stopped")),
            "backend": result.get("backend", ""),
            "dtype": result.get("dtype", ""),
        }
