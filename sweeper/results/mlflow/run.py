"""What MLflow should show of a cell: a pure function of what became of it.

Metric names are ``group/name``: MLflow draws one section of charts per group, so all
tasks of one metric stand side by side (``acc/cloze``, ``acc/capitals``). The standard
error of ``x`` is ``stderr/x``, the number of documents ``n/<task>``.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sweeper.planning.record import CellRecord, SweepRecord
from sweeper.results import cluster_usage
from sweeper.results.outcomes import CellOutcome, Json, StageOutcome, devices, epoch
from sweeper.store.progress import Headway

CELL = "isorate.cell"
SWEEP = "isorate.sweep"
ORIGIN = "isorate.origin"
STATUS = {"done": "FINISHED", "failed": "FAILED", "missing": "RUNNING"}
SECTIONS = ("rescale", "rotate", "prune", "quantize", "calibration")
LONGEST_PARAM = 500
LONGEST_TAG = 2000
LONGEST_PART = 100

_AXES = ("sparsity", "pattern", "bits", "mask", "prune_method", "quant_method", "calibration_seed")
_AXIS_OPTIONS = {"method", "sparsity", "pattern", "bits", "mask", "seed"}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One run as it should be.

    Attributes:
        identity: the tag that finds it again: name and value, unique in its experiment.
        params, metrics, tags: as MLflow stores them; metrics are finite.
        artifacts: path below the run's artifacts -> text, or a file to copy.
        status: an MLflow run status.
        start, end: milliseconds since the epoch; None when nothing has run.
        retracted: tasks whose scores the run may show already and must not.
    """

    identity: tuple[str, str]
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    artifacts: Mapping[str, str | Path]
    status: str
    start: int | None = None
    end: int | None = None
    retracted: frozenset[str] = frozenset()


def wanted(
    outcome: CellOutcome,
    name: str,
    retained: Mapping[str, float],
    running: Mapping[str, Headway] = MappingProxyType({}),
) -> Wanted:
    """The run of one cell.

    Args:
        outcome: the cell and what the store holds of it.
        name: the run's name, see `sweeper.results.mlflow.names`.
        retained: its metrics against the dense cell, see
            `sweeper.results.mlflow.retention_metrics`.
        running: key -> headway of the stages at work, of any cell.
    """
    times = [_times(stage) for stage in outcome.stages if stage.manifest]
    begun = [start for start, _ in times] + _begun(outcome, running)
    metrics = {"TCr": float(outcome.cell["tcr"]), **retained, **_metrics(outcome)}
    metrics |= _live(outcome, running)
    return Wanted(
        identity=(CELL, outcome.key),
        name=name,
        params=_params(outcome.cell),
        metrics={k: v for k, v in metrics.items() if math.isfinite(v)},
        tags=_tags(outcome),
        artifacts=_artifacts(outcome),
        status=STATUS[outcome.status],
        start=min(begun, default=None),
        end=max((end for _, end in times), default=None),
        retracted=frozenset(map(_part, _tasks(outcome.cell))) - set(outcome.scores)
        if outcome.status == "failed"
        else frozenset(),
    )


def sweep_run(
    record: SweepRecord,
    outcomes: Sequence[CellOutcome],
    report: Mapping[str, Path],
    jobs: Sequence[Json] = (),
) -> Wanted:
    """The parent run of all cells: how far the sweep is, its plan and its report.

    Args:
        record: the recorded plan (or several merged).
        outcomes: its cells.
        report: path below ``report/`` -> file.
        jobs: the executions of its jobs on a cluster, see `launcher_record.executions`.
    """
    count = Counter(outcome.status for outcome in outcomes)
    spans = [_times(s) for o in outcomes for s in o.stages if s.manifest]
    failed = [str(o.cell["label"]) for o in outcomes if o.status == "failed"]
    tags = {"isorate.reason": f"failed: {', '.join(failed)}"} if failed else {}
    status = "missing" if count["missing"] else "failed" if failed else "done"
    plan = json.dumps(_flat(record), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    files: dict[str, str | Path] = {f"report/{path}": file for path, file in report.items()}
    if jobs:
        files["slurm.json"] = json.dumps(list(jobs), indent=1, sort_keys=True) + "\n"
    used = {f"cluster/{name}": value for name, value in cluster_usage.totals(jobs).items()}
    return Wanted(
        identity=(SWEEP, str(record["name"])),
        name=str(record["name"]),
        params={},
        metrics={f"cells/{name}": float(count[name]) for name in STATUS} | used,
        tags={k: v[:LONGEST_TAG] for k, v in {"isorate.status": status, **tags}.items()},
        artifacts={"plan.json": plan, **files},
        status=STATUS[status],
        start=min((start for start, _ in spans), default=None),
        end=max((end for _, end in spans), default=None),
    )


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


def _flat(record: SweepRecord) -> Mapping[str, object]:
    """The record as it is on disk: a stage names its parents by key."""
    stages = {
        key: {**spec, "parents": {role: parent["key"] for role, parent in spec["parents"].items()}}
        for key, spec in record["stages"].items()
    }
    return {**record, "stages": stages}


def _metrics(outcome: CellOutcome) -> dict[str, float]:
    found: dict[str, float] = {}
    for task, result in outcome.scores.items():
        for metric, entry in result["metrics"].items():
            name = (metric.split(",")[0], task)
            parts = {path(*name): entry["value"], path("stderr", *name): entry.get("stderr")}
            found |= {k: float(v) for k, v in parts.items() if v is not None}
        for speed in ("tokens_per_s", "documents_per_s"):
            if result.get(speed) is not None:
                found[path(speed, task)] = float(result[speed])
        found[path("n", task)] = float(result["metrics"][result["primary"]].get("n") or math.nan)
    for where, value in leaves(outcome.measured or {}):
        if isinstance(value, int | float):
            grouped = where if "/" in where else f"measure/{where}"
            found[path(*grouped.split("/"))] = float(value)
    for stage in outcome.stages:
        if stage.manifest and "seconds" in stage.manifest:
            found[path("seconds", stage.name)] = float(stage.manifest["seconds"])
    facts = {stage.name: stage.facts for stage in outcome.stages}
    return found | {path(*parts): value for parts, value in cluster_usage.metrics(facts).items()}


def _begun(outcome: CellOutcome, running: Mapping[str, Headway]) -> list[int]:
    started = [running[stage.key].started for stage in outcome.at_work(running)]
    return [epoch(moment) for moment in started if moment is not None]


def _live(outcome: CellOutcome, running: Mapping[str, Headway]) -> dict[str, float]:
    """How fast its stages at work are, and how long they will still take."""
    return {
        path(rate, stage.task or stage.part or stage.kind): value
        for stage in outcome.at_work(running)
        for rate, value in running[stage.key].rates.items()
    }


def _params(cell: CellRecord) -> dict[str, str]:
    params: dict[str, Any] = {"model": cell["model"]}
    params |= {axis: cell.get(axis) for axis in _AXES}
    params["rerun"] = cell.get("rerun") or None
    params["scale_bits"] = cell.get("scale_bits")
    params["pattern"] = cell["pattern"] if cell["sparsity"] else "none"
    params["tasks"] = _tasks(cell)
    for section in SECTIONS:
        for where, value in leaves(cell["config"].get(section) or {}, section):
            if value is not None and where.split("/")[-1] not in _AXIS_OPTIONS:
                params[where.replace("/", ".")] = value
    return {k: _text(v)[:LONGEST_PARAM] for k, v in params.items() if v is not None}


def _tags(outcome: CellOutcome) -> dict[str, str]:
    cell, tags = outcome.cell, {"isorate.status": outcome.status}
    tags |= {"isorate.label": cell["label"], "isorate.reason": outcome.reason}
    tags |= {ORIGIN: str(cell.get("origin", ""))}
    collapsed = sorted(t for t, r in outcome.scores.items() if r.get("collapsed"))
    tags |= {"isorate.collapsed": ", ".join(collapsed), "isorate.device": devices(outcome)}
    stopped = sorted(t for t, r in outcome.scores.items() if r.get("stopped"))
    tags |= {"isorate.stopped": ", ".join(stopped)}
    for stage in outcome.stages:
        tags[stage_tag(stage.name)] = stage.key
    for fact in ("host", "commit"):
        values = {
            str(s.manifest[fact]) for s in outcome.stages if s.manifest and s.manifest.get(fact)
        }
        tags[f"isorate.{fact}"] = ", ".join(sorted(values))
    tags |= cluster_usage.tags(stage.facts for stage in outcome.stages)
    tags |= {f"version.{name}": text for name, text in _versions(outcome.stages).items()}
    return {_part(k): v[:LONGEST_TAG] for k, v in tags.items() if v}


def _tasks(cell: CellRecord) -> list[str]:
    return sorted(cell["stages"].get("evaluate", {}))


def _versions(stages: Sequence[StageOutcome]) -> dict[str, str]:
    """Library -> its version, or all versions where the cell's stages differ."""
    found: dict[str, set[str]] = {}
    for stage in stages:
        for library, version in stage.facts.get("versions", {}).items():
            found.setdefault(library, set()).add(str(version))
    return {library: ", ".join(sorted(versions)) for library, versions in found.items()}


def _artifacts(outcome: CellOutcome) -> dict[str, str | Path]:
    import yaml

    stages = {}
    for stage in outcome.stages:
        answers = {"result": stage.result, "manifest": stage.manifest, "failure": stage.failure}
        named = {"kind": stage.kind, "task": stage.task, "part": stage.part}
        looks = outcome.cell.get("looks", {}).get(stage.task)
        told = {k: v for k, v in answers.items() if v is not None}
        stages[stage.name] = {**named, **told, **({"looks": looks} if looks else {})}
    config = yaml.safe_dump(outcome.cell["config"], sort_keys=False, allow_unicode=True)
    written = json.dumps(stages, indent=2, sort_keys=True, ensure_ascii=False)
    documents = {
        documents_path(stage.task): stage.documents
        for stage in outcome.stages
        if stage.documents is not None and stage.task in outcome.scores
    }
    return {"config.yaml": config, "stages.json": written + "\n", **documents}


def stage_tag(name: str) -> str:
    """The tag of a run that holds the key of a stage."""
    return _part(f"stage.{name.replace(' ', '.')}")


def documents_path(task: str) -> str:
    """Where a run's artifacts have the scores of a task's single documents."""
    return f"documents/{_part(task)}.parquet"


def _times(stage: StageOutcome) -> tuple[int, int]:
    return epoch(stage.facts["started"]), epoch(stage.facts["ended"])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(_text(v) for v in value)
    return str(value)


def _part(name: str) -> str:
    """One part of a metric or tag name; MLflow allows letters, digits and _-. : in it."""
    clean = "".join(c if (c.isalnum() and c.isascii()) or c in "_-. :" else "_" for c in name)
    return clean[:LONGEST_PART].strip(". ") or "_"


def path(*parts: str) -> str:
    """A metric's name from its parts, with what MLflow does not allow replaced."""
    return "/".join(_part(part) for part in parts)
