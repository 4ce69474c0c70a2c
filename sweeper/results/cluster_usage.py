"""What a sweep took of a cluster: of each attempt from the manifests, of all jobs from its rounds.

A manifest names the SLURM job, node and GPUs of the attempt that made it, and the attempts
before it; the last repair-and-collect job has written down what SLURM's own accounting says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]


def attempts(manifest: Json | None) -> list[Json]:
    """The attempts of a stage on a cluster, the one that made it last; [] if made elsewhere."""
    own: Json | None = (manifest or {}).get("slurm")
    return [*own.get("earlier_attempts", ()), own] if own else []


def gpu_hours(manifests: Iterable[Json | None]) -> float:
    """Of all attempts of these stages."""
    return sum(float(a.get("gpu_hours") or 0.0) for m in manifests for a in attempts(m))


def metrics(manifests: Mapping[str, Json | None]) -> dict[tuple[str, str], float]:
    """(group, stage) -> GPU hours, largest memory in bytes and number of attempts of each stage."""
    found: dict[tuple[str, str], float] = {}
    for name, manifest in manifests.items():
        if tried := attempts(manifest):
            found["gpu_hours", name] = gpu_hours([manifest])
            found["max_rss_bytes", name] = max(float(a.get("peak_rss_bytes") or 0) for a in tried)
            found["attempts", name] = len(tried)
    if found:
        found["gpu_hours", "cell"] = gpu_hours(manifests.values())
    return found


def tags(manifests: Iterable[Json | None]) -> dict[str, str]:
    """Jobs, nodes, partitions and GPU types of all attempts, each named once."""
    tried = [attempt for manifest in manifests for attempt in attempts(manifest)]
    fields = {"jobs": "job", "nodes": "node", "partitions": "partition", "gpu_types": "gpu_type"}
    return {
        f"slurm.{plural}": ", ".join(sorted({str(a[name]) for a in tried if a.get(name)}))
        for plural, name in fields.items()
    }


def totals(rows: Sequence[Json]) -> dict[str, float]:
    """GPU hours, hours and number of executions of jobs; {} without any."""
    if not rows:
        return {}
    return {
        "gpu_hours": sum(float(row["gpu_hours"]) for row in rows),
        "hours": sum(float(row["elapsed_s"]) for row in rows) / 3600,
        "executions": len(rows),
    }
