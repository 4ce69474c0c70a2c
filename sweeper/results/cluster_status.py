"""Where the cells of a submitted sweep are: the store's outcomes, joined with a cluster's jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from sweeper.results import cluster_usage, formatting, launcher_record
from sweeper.results.outcomes import CellOutcome

_FIRST = ("running", "ended", "queued", "blocked")
"""Of several stages of a cell, the one in the first of these states stands for it."""


class StageJob(Protocol):
    """What a launcher knows of a submitted stage (`launchers.slurm.status.JobState`)."""

    state: str
    cause: str
    reason: str
    job: str
    node: str
    elapsed_s: float
    restarts: int
    gpu_hours: float
    log: str


class Jobs(Protocol):
    """What a launcher knows of a sweep (`launchers.slurm.status.JobTable`)."""

    stages: Mapping[str, StageJob]
    note: str
    gpu_hours: float
    eta_s: float | None
    known: bool
    to_come: bool


@dataclass(frozen=True, kw_only=True)
class CellJob:
    """What the cluster does for one cell.

    Attributes:
        state: "running", "queued", "ended" (for a reason outside the cell) or "blocked".
        reason: which stage, where and since when, or why not.
        job, node: of that stage.
        elapsed_s: of its job's latest execution.
        log: what its job printed.
    """

    state: str
    reason: str
    job: str
    node: str
    elapsed_s: float
    log: str


def jobs(sweep: Path) -> Jobs | None:
    """What became of a sweep's jobs; None if it was never submitted to a cluster."""
    launcher = launcher_record.launcher(sweep)
    found: Jobs | None = None if launcher is None else launcher.jobs(sweep)
    return found


def cell_job(outcome: CellOutcome, table: Jobs) -> CellJob | None:
    """What the cluster does for a cell; None if that is nothing (any more)."""
    named = [
        (stage.name, table.stages[stage.key])
        for stage in outcome.stages
        if stage.key in table.stages
    ]
    open_ = [(name, job) for name, job in named if job.state in _FIRST]
    if not open_ or outcome.status in ("done", "failed"):
        return None
    name, job = min(open_, key=lambda pair: _FIRST.index(pair[1].state))
    return CellJob(
        state=job.state,
        reason=_sentence(name, job),
        job=job.job,
        node=job.node,
        elapsed_s=job.elapsed_s,
        log=job.log,
    )


def gpu_hours(outcome: CellOutcome, table: Jobs) -> float:
    """GPU hours so far of all attempts that a cell rests on, those that it shares too.

    A job that still runs counts whole, whatever other cells it works for.
    """
    hours = cluster_usage.gpu_hours(stage.facts for stage in outcome.stages)
    found = (table.stages.get(s.key) for s in outcome.stages if s.result is None)
    live = {job.job: job.gpu_hours for job in found if job is not None}
    for stage in outcome.stages:
        for attempt in cluster_usage.attempts(stage.facts):
            if attempt.get("job") in live:
                live[attempt["job"]] -= float(attempt.get("gpu_hours") or 0.0)
    return hours + sum(max(0.0, left) for left in live.values())


def overlaid(outcomes: Sequence[CellOutcome], table: Jobs | None) -> list[CellOutcome]:
    """The outcomes, with "running", "queued" ... in place of "missing" where a job has them."""
    if table is None:
        return list(outcomes)
    found = []
    for outcome in outcomes:
        job = cell_job(outcome, table)
        found.append(replace(outcome, status=job.state, reason=job.reason) if job else outcome)
    return found


def footer(table: Jobs | None) -> str:
    """GPU hours, the time left and what could not be found out, in lines for people."""
    if table is None:
        return ""
    lines = [f"{table.gpu_hours:.2f} GPU hours so far"]
    if table.eta_s is not None:
        lines[0] += f", about {formatting.duration(table.eta_s)} left at the present pace"
    if table.note:
        lines.append(f"Note: {table.note}")
    return "\n".join(lines)


def document(table: Jobs | None) -> dict[str, Any] | None:
    """The same as JSON data."""
    if table is None:
        return None
    return {"gpu_hours": table.gpu_hours, "eta_seconds": table.eta_s, "note": table.note}


def cell_document(outcome: CellOutcome, table: Jobs | None) -> dict[str, Any]:
    """Of one cell as JSON data: its job as far as one has it, and GPU hours; {} without cluster."""
    if table is None:
        return {}
    job = cell_job(outcome, table)
    return {
        "gpu_hours": round(gpu_hours(outcome, table), 4),
        "job": job.job if job else None,
        "node": job.node if job else None,
        "elapsed_seconds": job.elapsed_s if job else None,
        "log": job.log if job else None,
    }


def _sentence(name: str, job: StageJob) -> str:
    again = f", started again {job.restarts} times" if job.restarts else ""
    where = f" (job {job.job}{again})"
    if job.state == "running":
        return f"{name} on {job.node}, {formatting.duration(job.elapsed_s)}{where}"
    if job.state == "queued":
        return f"{name}: {job.reason or 'in the queue'}{where}"
    cause = f"{job.cause}: " if job.cause and not job.reason.startswith(job.cause) else ""
    return f"{name}: {cause}{job.reason}{where}"
