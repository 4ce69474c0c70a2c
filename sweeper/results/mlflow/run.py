"""What MLflow should show of a cell: a pure function of what became of it.

A row of `search_runs` is to be usable as it is: each number once, in the units of the command line
(percent, MB), and what else is known of a cell in the artifacts ``cell.json`` and ``stages.json``.
Metrics of tasks are ``group/name``: MLflow draws one section of charts per group, so all
tasks of one metric stand side by side (``acc/cloze``, ``acc/capitals``). The standard
error of ``x`` is ``stderr/x``.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sweeper.planning.record import SweepRecord
from sweeper.results import cluster_usage
from sweeper.results.mlflow.best_cells import Best, note
from sweeper.results.mlflow.inputs import Input, inputs
from sweeper.results.mlflow.parameters import parameters, percent, scored_tasks
from sweeper.results.outcomes import CellOutcome, Json, StageOutcome, devices, epoch
from sweeper.store.progress import SECONDS_LEFT, Headway

CELL = "isorate.cell"
NOTE = "mlflow.note.content"
"""The tag that MLflow shows as a run's description."""
SWEEP = "isorate.sweep"
KIND = "isorate.kind"
"""The tag that tells the runs of cells ("cell") from their parent ("sweep")."""
ORIGIN = "isorate.origin"
STATUS = {"done": "FINISHED", "failed": "FAILED", "missing": "RUNNING"}
LONGEST_TAG = 2000
LONGEST_PART = 100


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
        inputs: the texts and tasks that it rests on.
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
    inputs: tuple[Input, ...] = ()


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
    metrics = {**_metrics(outcome), **retained, **_live(outcome, running)}
    return Wanted(
        identity=(CELL, outcome.key),
        name=name,
        params=parameters(outcome.cell),
        metrics={k: v for k, v in metrics.items() if math.isfinite(v)},
        tags=_tags(outcome),
        artifacts=_artifacts(outcome),
        status=STATUS[outcome.status],
        start=min(begun, default=None),
        end=max((end for _, end in times), default=None),
        retracted=frozenset(map(_part, scored_tasks(outcome.cell))) - set(outcome.scores)
        if outcome.status == "failed"
        else frozenset(),
        inputs=inputs(outcome),
    )


def sweep_run(
    record: SweepRecord,
    outcomes: Sequence[CellOutcome],
    report: Mapping[str, Path],
    jobs: Sequence[Json] = (),
    best: Sequence[Best] = (),
) -> Wanted:
    """The parent run of all cells: how far the sweep is, its best cells, its plan and its report.

    Args:
        record: the recorded plan (or several merged).
        outcomes: its cells.
        report: path below ``report/`` -> file.
        jobs: the executions of its jobs on a cluster, see `launcher_record.executions`.
        best: what `sweeper.results.mlflow.best_cells` found.
    """
    count = Counter(outcome.status for outcome in outcomes)
    spans = [_times(s) for o in outcomes for s in o.stages if s.manifest]
    failed = [str(o.cell["label"]) for o in outcomes if o.status == "failed"]
    tags = {"isorate.reason": f"failed: {', '.join(failed)}"} if failed else {}
    tags |= {f"isorate.best.{one.name}": one.short for one in best}
    tags[NOTE] = note(best)
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
        tags={
            k: v[:LONGEST_TAG] for k, v in {KIND: "sweep", "isorate.status": status, **tags}.items()
        },
        artifacts={"plan.json": plan, **files},
        status=STATUS[status],
        start=min((start for start, _ in spans), default=None),
        end=max((end for _, end in spans), default=None),
    )


def _flat(record: SweepRecord) -> Mapping[str, object]:
    """The record as it is on disk: a stage names its parents by key."""
    stages = {
        key: {**spec, "parents": {role: parent["key"] for role, parent in spec["parents"].items()}}
        for key, spec in record["stages"].items()
    }
    return {**record, "stages": stages}


def _metrics(outcome: CellOutcome) -> dict[str, float]:
    """Rate, sizes, time, and the primary score of every task."""
    found = {"TCr": percent(outcome.cell["tcr"]), **_measured(outcome)}
    for task, result in outcome.scores.items():
        entry, name = result["metrics"][result["primary"]], str(result["primary"]).split(",")[0]
        parts = {path(name, task): entry["value"], path("stderr", name, task): entry.get("stderr")}
        found |= {k: float(v) for k, v in parts.items() if v is not None}
    facts = {stage.name: stage.facts for stage in outcome.stages}
    spent = [fact["seconds"] for fact in facts.values() if "seconds" in fact]
    if spent:
        found["seconds"] = float(sum(spent))
    hours = cluster_usage.metrics(facts).get(("gpu_hours", "cell"))
    return found if hours is None else found | {"gpu_hours": hours}


def _measured(outcome: CellOutcome) -> dict[str, float]:
    """What its files are: size, bits per weight with mask and scales, share of the mask kept."""
    measured = outcome.measured or {}
    size = measured.get("bytes", {}).get("checkpoint")
    bits = measured.get("bits_per_weight", {}).get("total")
    kept = (measured.get("containment") or {}).get("min") if outcome.cell["sparsity"] else None
    found = {
        "size_mb": None if size is None else size / 1e6,
        "bits_per_weight": bits,
        "mask_kept": None if kept is None else percent(kept),
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def _begun(outcome: CellOutcome, running: Mapping[str, Headway]) -> list[int]:
    started = [running[stage.key].started for stage in outcome.at_work(running)]
    return [epoch(moment) for moment in started if moment is not None]


def _live(outcome: CellOutcome, running: Mapping[str, Headway]) -> dict[str, float]:
    """How fast its stages at work are together, and how long the longest of them will take."""
    found: dict[str, float] = {}
    for stage in outcome.at_work(running):
        for rate, value in running[stage.key].rates.items():
            known = found.get(rate, 0.0)
            found[rate] = max(known, value) if rate == SECONDS_LEFT else known + value
    return found


def _tags(outcome: CellOutcome) -> dict[str, str]:
    cell, tags = outcome.cell, {KIND: "cell", "isorate.status": outcome.status}
    tags |= {"isorate.label": cell["label"], "isorate.reason": outcome.reason}
    tags |= {ORIGIN: str(cell.get("origin", ""))}
    collapsed = sorted(t for t, r in outcome.scores.items() if r.get("collapsed"))
    tags |= {"isorate.collapsed": ", ".join(collapsed), "isorate.device": devices(outcome)}
    stopped = sorted(t for t, r in outcome.scores.items() if r.get("stopped"))
    tags |= {"isorate.stopped": ", ".join(stopped)}
    for fact in ("host", "commit"):
        values = {
            str(s.manifest[fact]) for s in outcome.stages if s.manifest and s.manifest.get(fact)
        }
        tags[f"isorate.{fact}"] = ", ".join(sorted(values))
    tags |= cluster_usage.tags(stage.facts for stage in outcome.stages)
    versions = _versions(outcome.stages)
    tags["isorate.versions"] = ", ".join(f"{name} {text}" for name, text in versions.items())
    return {_part(k): v[:LONGEST_TAG] for k, v in tags.items() if v}


def _versions(stages: Sequence[StageOutcome]) -> dict[str, str]:
    """Library -> its version, or all versions where the cell's stages differ."""
    found: dict[str, set[str]] = {}
    for stage in stages:
        for library, version in stage.facts.get("versions", {}).items():
            found.setdefault(library, set()).add(str(version))
    return {library: " and ".join(sorted(versions)) for library, versions in found.items()}


def _artifacts(outcome: CellOutcome) -> dict[str, str | Path]:
    import yaml

    stages = {}
    for stage in outcome.stages:
        answers = {"result": stage.result, "manifest": stage.manifest, "failure": stage.failure}
        named = {"kind": stage.kind, "key": stage.key, "task": stage.task, "part": stage.part}
        stages[stage.name] = named | {k: v for k, v in answers.items() if v is not None}
    config = yaml.safe_dump(outcome.cell["config"], sort_keys=False, allow_unicode=True)
    written = json.dumps(stages, indent=2, sort_keys=True, ensure_ascii=False)
    documents = {
        documents_path(stage.task): stage.documents
        for stage in outcome.stages
        if stage.documents is not None and stage.task in outcome.scores
    }
    cell = json.dumps(outcome.cell, indent=1, sort_keys=True, ensure_ascii=False)
    texts = {"config.yaml": config, "cell.json": cell + "\n", "stages.json": written + "\n"}
    return {**texts, **documents}


def documents_path(task: str) -> str:
    """Where a run's artifacts have the scores of a task's single documents."""
    return f"documents/{_part(task)}.parquet"


def _times(stage: StageOutcome) -> tuple[int, int]:
    return epoch(stage.facts["started"]), epoch(stage.facts["ended"])


def _part(name: str) -> str:
    """One part of a metric or tag name; MLflow allows letters, digits and _-. : in it."""
    clean = "".join(c if (c.isalnum() and c.isascii()) or c in "_-. :" else "_" for c in name)
    return clean[:LONGEST_PART].strip(". ") or "_"


def path(*parts: str) -> str:
    """A metric's name from its parts, with what MLflow does not allow replaced."""
    return "/".join(_part(part) for part in parts)
