"""Stands in for `sweeper.stages.measure.stage`."""

from __future__ import annotations

from typing import Any

from sweeper.stages import Job


def run(job: Job) -> dict[str, Any]:
    """What a sound checkpoint of these parameters measures."""
    sparsity, bits = float(job.params["sparsity"]), int(job.params["bits"])
    found: dict[str, Any] = {
        "achieved_sparsity": sparsity,
        "bits_per_weight": {"total": bits + 0.25, "stored": bits + 0.25, "entropy": bits - 0.5},
        "bytes": {"checkpoint": 10_000 * bits, "directory": 10_000 * bits + 500},
        "layers": 6,
        "linear_weights": 40_960,
        "total_weights": 43_008,
        "macs": round(40_960 * (1 - sparsity)),
    }
    if sparsity:
        found["containment"] = {"min": 1.0, "mean": 1.0}
    if ":" in job.params["pattern"]:
        found["nm_valid"] = 1.0
    return found
