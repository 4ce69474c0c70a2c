"""Whole sweeps from the command line with stand-in stages: as a user sees them."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tests
from sweeper.store import files, manifest
from sweeper.store.garbage import kinds
from tests.stubs import kinds as standin

CELLS = ("prune.sparsity=0,50", "quant.bits=16,4")
Done = subprocess.CompletedProcess[str]
LABELS = {"dense", "50%", "4bit", "50% + 4bit"}


def words(home: Path, model: Path, *more: str) -> list[str]:
    """The overrides of a sweep of four cells and two tasks."""
    return [
        f"home={home}",
        "name=whole",
        "model=custom",
        f"model.id={model}",
        "model.name=tiny",
        "model.group_size=32",
        "calibration.samples=4",
        "calibration.length=32",
        "tasks.names=[demo_pydoc,demo_agreement]",
        "+hydra.launcher.stages=tests.stubs.kinds",
        "hydra.launcher.workers=2",
        *CELLS,
        *more,
    ]


def command(verb: str, overrides: Sequence[str]) -> list[str]:
    """The console command."""
    return [sys.executable, "-m", "sweeper", verb, *overrides]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, with this checkout first."""
    root = str(Path(tests.__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", **(more or {})}


def isorate(verb: str, overrides: Sequence[str], **more: Any) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    env = environment(more.pop("env", None))
    return subprocess.run(command(verb, overrides), capture_output=True, text=True, env=env, **more)


def model(path: Path) -> Path:
    """A checkpoint to plan with."""
    return standin.model(path)


def finished(home: Path) -> dict[str, str]:
    """Directory of every committed stage -> the attempt that made it."""
    outputs = [p for kind in kinds(home / "store") for p in kind.iterdir() if "." not in p.name]
    return {str(p): files.read_json(p / manifest.NAME)["attempt"] for p in outputs}


def tables(home: Path) -> dict[str, str]:
    """Every table of the report, without what tells how long something took."""
    folder = home / "sweeps" / "whole" / "report" / "tables"
    return {p.name: _timeless(p) for p in sorted(folder.glob("*.csv"))}


def _timeless(path: Path) -> str:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return str([{k: v for k, v in row.items() if "seconds" not in k} for row in rows])


def runs(home: Path, uri: str | None = None) -> list[Any]:
    """The active runs of the sweep in MLflow."""
    from sweeper.results.mlflow import connection

    client = connection.connect(uri or connection.default_uri(home), home)
    experiment = client.get_experiment_by_name("whole")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def tracked(home: Path, uri: str | None = None) -> dict[str, Any]:
    """Run name -> parameters and metrics that do not depend on time; each name once."""
    found = runs(home, uri)
    names = [run.info.run_name for run in found]
    assert sorted(names) == sorted(set(names)), names
    return {
        run.info.run_name: (
            dict(run.data.params),
            {k: v for k, v in run.data.metrics.items() if "seconds" not in k and "rss" not in k},
        )
        for run in found
    }
