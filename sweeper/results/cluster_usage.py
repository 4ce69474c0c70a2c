"""What a sweep took of a cluster: of each attempt from the manifests, of all jobs from its rounds.

A manifest names the SLURM job, node and GPUs of the attempt that made it, and the attempts
before it; the last repair-and-collect job has written down what SLURM's own accounting says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sweeper.store.manifest import Facts, SlurmAttempt

Json = Mapping[str, Any]


def attempts(facts: Facts) -> list[SlurmAttempt]:
    """The attempts of a stage on a cluster, the one that made it last; [] if made elsewhere."""
    own = facts.get("slurm")
    return [*own.get("earlier_attempts", ()), own] if own else []


def gpu_hours(stages: Iterable[Facts]) -> float:
    """Of all attempts of these stages."""
    return sum(a.get("gpu_hours", 0.0) for facts in stages for a in attempts(facts))


def metrics(stages: Mapping[str, Facts]) -> dict[tuple[str, str], float]:
    """(group, stage) -> GPU hours, largest memory in bytes and number of attempts of each stage."""
    found: dict[tuple[str, str], float] = {}
    for name, facts in stages.items():
        if tried := attempts(facts):
            found["gpu_hours", name] = gpu_hours([facts])
            found["max_rss_bytes", name] = max(float(a.get("peak_rss_bytes", 0)) for a in tried)
            found["attempts", name] = len(tried)
    if found:
        found["gpu_hours", "cell"] = gpu_hours(stages.values())
    return found


def tags(stages: Iterable[Facts]) -> dict[str, str]:
    """Jobs, nodes, partitions and GPU types of all attempts, each named once."""
    tried = [attempt for facts in stages for attempt in attempts(facts)]
    named = {
        "jobs": {attempt.get("job", "") for attempt in tried},
        "nodes": {attempt.get("node", "") for attempt in tried},
        "partitions": {attempt.get("partition", "") for attempt in tried},
        "gpu_types": {attempt.get("gpu_type", "") for attempt in tried},
    }
    return {f"slurm.{plural}": ", ".join(sorted(of - {""})) for plural, of in named.items()}


def totals(rows: Sequence[Json]) -> dict[str, float]:
    """GPU hours, hours and number of executions of jobs; {} without any."""
    if not rows:
        return {}
    return {
        "gpu_hours": sum(float(row["gpu_hours"]) for row in rows),
        "hours": sum(float(row["elapsed_s"]) for row in rows) / 3600,
        "executions": len(rows),
    }
