"""How fast finished cells reach MLflow, against logging them value by value.

    python benchmarks/mlflow_sync.py [cells] [sample]

Syncs a made-up sweep (200 cells by default) into a fresh SQLite store, syncs it again
with nothing to do, then logs a sample of the very same runs the usual way (one call per
parameter, metric, tag and file). CPU seconds, so that a busy machine does not count.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sweeper.results import outcomes as cell_outcomes
from sweeper.results.mlflow import connection, sync
from sweeper.results.mlflow import run as tracking_run
from sweeper.results.mlflow.retention_metrics import retained
from tests import tracking_data as data


def main(cells: int = 200, sample: int = 10) -> None:
    plan = data.record(tuple(islice(points(), cells)))
    store = data.FakeStore()
    data.fill(store, plan)
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        client = connection.connect(connection.default_uri(home), home)
        import pandas  # noqa: F401 - paid before the clock starts, as MLflow itself is

        first = cpu_s(lambda: check(sync.sync(plan, store, home=home), cells))
        again = cpu_s(lambda: check(sync.sync(plan, store, home=home), cells))
        runs = wanted_runs(plan, store)[:sample]
        experiment = client.create_experiment("one by one", (home / "files").as_uri())
        single = cpu_s(lambda: log_one_by_one(client, experiment, runs))
    values = sum(len(r.metrics) + len(r.params) + len(r.tags) for r in runs) / len(runs)
    batched, apart = first / cells, single / len(runs)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(
        f"{cells} cells of {values:.0f} values and 2 files: {first:.2f} CPU s, "
        f"{1000 * batched:.1f} ms a cell, {1 / batched:.0f} cells/s"
    )
    print(
        f"again, nothing to do:            {again:.2f} CPU s, {1000 * again / cells:.1f} ms a cell"
    )
    print(f"value by value ({len(runs)} cells):       {1000 * apart:.1f} ms a cell")
    print(f"ratio: {apart / batched:.1f} times faster")


def points() -> Iterator[dict[str, Any]]:
    """As many distinct cells as one likes, the dense one first."""
    yield {}
    for percent, bits, seed in product(range(1, 100), (8, 4, 3, 2), range(100)):
        yield {"sparsity": percent / 100, "bits": bits, "mask": "keep", "seed": seed}


def cpu_s(work: Callable[[], None]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def check(summary: sync.Summary, cells: int) -> None:
    if not summary.complete or summary.created + summary.unchanged != cells + 1:
        raise SystemExit(f"the sync did not do its work: {summary}")


def wanted_runs(plan: Any, store: data.FakeStore) -> list[tracking_run.Wanted]:
    outcomes = cell_outcomes.collect(plan, store)
    kept = retained(outcomes)
    return [tracking_run.wanted(o, str(o.cell["label"]), kept[o.key]) for o in outcomes]


def log_one_by_one(client: Any, experiment: str, runs: Sequence[tracking_run.Wanted]) -> None:
    for wanted in runs:
        run = client.create_run(experiment, run_name=wanted.name).info.run_id
        for key, value in wanted.params.items():
            client.log_param(run, key, value)
        for name, number in wanted.metrics.items():
            client.log_metric(run, name, number)
        for key, value in wanted.tags.items():
            client.set_tag(run, key, value)
        for path, text in wanted.artifacts.items():
            client.log_text(run, str(text), path)
        client.set_terminated(run, wanted.status)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
