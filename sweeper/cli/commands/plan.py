"""``isorate plan``: what would be done, what was left out and why, and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from sweeper.cli import racing
from sweeper.cli.request import Request
from sweeper.planning.estimate.cost import Cost
from sweeper.planning.plan import Plan, PlannedCell
from sweeper.planning.race.state import is_dense
from sweeper.planning.sweep import cell_json, nested, plan_json
from sweeper.planning.synopsis import synopsis, warnings
from sweeper.results import formatting
from sweeper.results.importers import scores

_SHOWN = 12


def perform(request: Request) -> int:
    """Print the plan; touches nothing."""
    plan, spent = request.plan, request.cost
    # Of 10,000 cells, either takes as long as the plan itself.
    if request.as_json:
        request.answer(document(request, plan, spent), "")
    else:
        request.answer({}, text(request, plan, spent))
    return 0


def document(request: Request, plan: Plan, spent: Cost) -> dict[str, Any]:
    """The plan as JSON."""
    jobs = _jobs(request)
    return {
        "name": request.sweep.name,
        "home": str(request.home),
        "cells": [cell_json(cell) for cell in plan.cells],
        "imported": sorted(_imported(request)),
        "dropped": [_reason(item) for item in plan.dropped],
        "merged": [_reason(item) for item in plan.merged],
        **asdict(synopsis(plan.cells)),
        "notes": list(plan.notes),
        "warnings": list(warned(request)),
        "stages": {
            "by_kind": dict(_kinds(plan)),
            "total": len(plan.stages),
            "done": len(plan.stages) - len(spent.pending),
            "again": len(spent.again),
            "outdated": len(spent.outdated),
            "without_sharing": plan.unshared,
        },
        "cost": {
            "seconds": round(spent.seconds, 1),
            "wall_seconds": round(spent.wall_seconds, 1),
            "estimates": spent.sources(),
            "peak_checkpoint_bytes": spent.peak_bytes,
            "workers": spent.workers,
            "device": spent.device,
        },
        "jobs": asdict(jobs) if jobs else None,
        **({"race": racing.expectation(request)} if racing.asked_for(request) else {}),
    }


def _reason(item: Any) -> Mapping[str, Any]:
    return {"overrides": list(item.overrides), "reason": item.reason}


def _kinds(plan: Plan) -> Counter[str]:
    return Counter(stage.kind for stage in plan.stages.values())


def text(request: Request, plan: Plan, spent: Cost) -> str:
    """The plan for a person."""
    brought = _imported(request)
    cells = formatting.table(
        ["model", "cell", "TCr", "stages to do"],
        [
            (
                cell.cell.model["name"],
                cell.label,
                f"{100 * cell.cell.tcr:.3f}".rstrip("0").rstrip(".") + " %",
                _to_do(cell, spent, brought),
            )
            for cell in plan.cells
        ],
    )
    return "\n\n".join(
        part
        for part in (
            f"Sweep {request.sweep.name}: {formatting.count(len(plan.cells), 'cell')} "
            f"in {request.home}",
            synopsis(plan.cells).text(),
            cells,
            _left_out("Dropped", plan.dropped),
            _left_out("Merged", plan.merged),
            "\n".join(f"Note:   {note}" for note in plan.notes),
            "\n".join(f"Warning: {warning}." for warning in warned(request)),
            _stages(request, plan, spent),
        )
        if part
    )


def warned(request: Request) -> tuple[str, ...]:
    """What makes the results of this plan worth less than they look, the whole sweep known."""
    sweep = request.sweep
    recorded = sweep.load()["cells"] if sweep.planned else []
    imported = [one["cell"] for one in scores.records(sweep)]
    known = {str(cell["model"]) for cell in (*recorded, *imported) if is_dense(cell)}
    return warnings(request.plan.cells, known)


def _to_do(cell: PlannedCell, spent: Cost, brought: Collection[str]) -> str:
    if brought and cell.key in brought:
        return "0 (imported)"
    return str(sum(key in spent.pending for key in cell.lineage))


def _imported(request: Request) -> set[str]:
    if request.todo is request.plan:
        return set()
    return {cell.key for cell in request.plan.cells} - {cell.key for cell in request.todo.cells}


def _left_out(title: str, items: Any) -> str:
    reasons = Counter(item.reason for item in items)
    lines = [f"  {count:5d}  {reason}" for reason, count in reasons.most_common(_SHOWN)]
    if len(reasons) > _SHOWN:
        lines.append(f"         and {len(reasons) - _SHOWN} more reasons (output=json has all)")
    return "\n".join([f"{title}: {len(items)} combinations", *lines]) if items else ""


def _stages(request: Request, plan: Plan, spent: Cost) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in _kinds(plan).items())
    saved = plan.unshared - len(plan.stages)
    done = len(plan.stages) - len(spent.pending)
    jobs = _jobs(request)
    last = ", by the last job" if request.launcher.drops_at_end else ""
    return "\n".join(
        [
            f"Stages: {len(plan.stages)} ({kinds}); sharing saves {saved}; {done} are done"
            + _again(spent),
            *([f"Format: {old}"] if (old := outdated(plan, spent)) else []),
            *_cost(spent, jobs),
            f"Disk:   {formatting.size(spent.peak_bytes)} of checkpoints at the peak "
            f"(checkpoints={request.config.checkpoints}{last})",
            *([jobs.text()] if jobs else []),
            *(racing.expected(request) if racing.asked_for(request) else []),
        ]
    )


def _cost(spent: Cost, jobs: Any | None) -> list[str]:
    """The time it takes; a cluster's hours are those of its jobs, never a second figure beside."""
    about = f"about {formatting.duration(spent.wall_seconds)} with {spent.workers}"
    if jobs is None:
        return [
            f"Cost:   {formatting.duration(spent.seconds)} of work, {about} workers on "
            f"{spent.device} (estimates: {spent.sources()})"
        ]
    # Nothing was measured: jobs count with the time that they ask for, ours would be a guess.
    measured = jobs.jobs and "requested" not in jobs.sources
    return [f"Cost:   {about} jobs at a time on {spent.device}"] if measured else []


def _again(spent: Cost) -> str:
    if not spent.again:
        return ""
    return f", the dropped checkpoints of {len(spent.again)} more are made again"


def outdated(plan: Plan, spent: Cost) -> str:
    """What the home has in an older format and is built again, in one line; "" if nothing."""
    stages = [stage for key, stage in plan.stages.items() if key in spent.outdated]
    if not stages:
        return ""
    kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(s.kind for s in stages).items())
    why = "; ".join(sorted(frozenset().union(*(stage.changes for stage in stages))))
    return f"{kinds} of this home are of an older format and are built again ({why})"


def _jobs(request: Request) -> Any | None:
    """Jobs, arrays and GPU hours, from a launcher that submits to a cluster."""
    shape = getattr(request.launcher, "shape", None)
    if shape is None:
        return None
    specs = nested(plan_json(request.todo)["stages"])
    return shape(list(specs.values()), request.store, request.cost.estimates)
