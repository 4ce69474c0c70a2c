"""What a cluster was used for, from manifests and rounds, as MLflow and the report tell it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeper.results import cluster_usage, launcher_record
from sweeper.results import outcomes as cell_outcomes
from sweeper.results.mlflow import run as runs
from tests import tracking_data as data

EARLIER = {
    "job": "7_1",
    "node": "n1",
    "partition": "gpu",
    "gpus": 2,
    "gpu_type": "a10",
    "gpu_hours": 0.5,
    "peak_rss_bytes": 3_000,
    "ending": "OSError",
}
MANIFEST = {
    "slurm": {
        "job": "9",
        "node": "n4",
        "partition": "gpu",
        "gpus": 2,
        "gpu_type": "a100",
        "gpu_hours": 0.25,
        "peak_rss_bytes": 2_000,
        "earlier_attempts": [EARLIER],
    }
}
ROWS = [
    {
        "job": "7_1",
        "restart": n,
        "state": "COMPLETED",
        "node": "n1",
        "elapsed_s": 1800.0,
        "max_rss_bytes": 9,
        "gpus": 1,
        "gpu_hours": 0.5,
    }
    for n in range(2)
]


def test_every_attempt_counts() -> None:
    assert cluster_usage.gpu_hours([MANIFEST, {}, {"device": "cpu"}]) == 0.75
    assert cluster_usage.metrics({"prune": MANIFEST, "measure": {}}) == {
        ("gpu_hours", "prune"): 0.75,
        ("max_rss_bytes", "prune"): 3_000.0,
        ("attempts", "prune"): 2,
        ("gpu_hours", "cell"): 0.75,
    }
    assert cluster_usage.tags([MANIFEST, {}]) == {
        "slurm.jobs": "7_1, 9",
        "slurm.nodes": "n1, n4",
        "slurm.partitions": "gpu",
        "slurm.gpu_types": "a10, a100",
    }
    assert cluster_usage.metrics({"prune": {}}) == {}


def test_the_latest_round_knows_all_executions(tmp_path: Path) -> None:
    assert cluster_usage.totals(launcher_record.executions(tmp_path)) == {}
    (tmp_path / "jobs").mkdir()
    for name, rows in (("a", ROWS[:1]), ("b", ROWS)):
        (tmp_path / "jobs" / f"{name}.round.json").write_text(json.dumps({"accounting": rows}))
    assert cluster_usage.totals(launcher_record.executions(tmp_path)) == {
        "gpu_hours": 1.0,
        "hours": 1.0,
        "executions": 2,
    }


@pytest.fixture
def outcomes() -> tuple[Any, Any]:
    plan, store = data.record(), data.FakeStore()
    data.fill(store, plan)
    key = next(c["stages"]["prune"] for c in plan["cells"] if c["label"] == "25%")
    store.manifests[key] = {**store.manifests[key], **MANIFEST}
    return plan, cell_outcomes.collect(plan, store)


def test_mlflow_shows_it_per_cell_and_for_the_sweep(outcomes: tuple[Any, Any]) -> None:
    plan, found = outcomes
    cell = next(o for o in found if o.cell["label"] == "25%")
    run = runs.wanted(cell, "25%", {})
    assert run.metrics["gpu_hours"] == 0.75
    assert run.tags["slurm.jobs"] == "7_1, 9"
    sweep = runs.sweep_run(plan, found, {}, ROWS)
    assert sweep.metrics["cluster/gpu_hours"] == 1.0
    assert json.loads(str(sweep.artifacts["slurm.json"])) == ROWS
    local = runs.sweep_run(plan, found, {})
    assert "slurm.json" not in local.artifacts
    assert not any(name.startswith("cluster/") for name in local.metrics)
