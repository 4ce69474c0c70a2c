"""Where a report's numbers come from: versions, sources, models and how they were made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweeper.modeling import kernels
from sweeper.planning.sweep import Sweep
from sweeper.results import cluster_usage, launcher_record
from sweeper.results.outcomes import CellOutcome, compressed_on, devices


def of(sweep: Sweep, outcomes: Sequence[CellOutcome]) -> dict[str, Any]:
    """Name -> text, for the head of a report; only what is the same whenever it is written."""
    configs = [outcome.cell["config"] for outcome in outcomes]
    calibrations = {
        _calibration(c["calibration"]) for c in configs if c.get("calibration") is not None
    }
    notes = {str(c["model"]["note"]) for c in configs if c["model"].get("note")}
    found: dict[str, Any] = {
        "sweep": sweep.name,
        "models": _joined({str(c["model"]["id"]) for c in configs}),
        "calibration": _joined(calibrations),
        "scored in": _joined({_scoring(c["tasks"]) for c in configs}),
        "machines": _joined({d for o in outcomes for d in (devices(o), compressed_on(o)) if d}),
        **_kernels(outcomes),
        **_versions(outcomes),
    }
    if used := cluster_usage.totals(launcher_record.executions(sweep.path)):
        found["cluster"] = (
            f"{used['gpu_hours']:.2f} GPU hours, {used['hours']:.2f} hours of jobs in "
            f"{used['executions']:.0f} executions"
        )
    if notes:
        found["note"] = " ".join(sorted(notes))
    return found


def _calibration(section: Any) -> str:
    return (
        f"{section['name']}, {section['samples']} samples of {section['length']} tokens, "
        f"seed {section['seed']}"
    )


def _scoring(section: Any) -> str:
    return f"{section['dtype']}, {section['backend']} backend, batch {section['batch_size']}"


def _kernels(outcomes: Sequence[CellOutcome]) -> dict[str, str]:
    """What the environment made libraries use, where it did; portable kernels by their name."""
    stages = [stage.facts for outcome in outcomes for stage in outcome.stages]
    found = {
        kernels.summary(facts.get("kernel_settings", {}), gpu=facts["device"] != "cpu")
        or "the processor's best"
        for facts in stages
        if facts.get("device")
    }
    chosen = found != {"the processor's best"}
    return {"kernels": _joined(found)} if found and chosen else {}


def _versions(outcomes: Sequence[CellOutcome]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for outcome in outcomes:
        for stage in outcome.stages:
            for name, version in stage.facts.get("versions", {}).items():
                found.setdefault(name, set()).add(str(version))
    return {name: _joined(versions) for name, versions in sorted(found.items())}


def _joined(values: set[str]) -> str:
    return "; ".join(sorted(values))
