"""Sharing stages and keeping workers, against the obvious program: each cell alone.

    python benchmarks/sharing.py grid   the 45-cell grid of a small model, without evaluation
    python benchmarks/sharing.py demo   the demo's cells, with evaluation (about 15 minutes);
                                        --limit 40 scores only so many documents of each task

The obvious program is a plain multirun: every cell in a process of its own that loads, prunes,
quantizes and scores, as many at a time as Isorate has workers. Both do the same stages with the
same code on the same machine in one run, and must end with the same weights and scores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sweeper.planning.sweep import Sweep
from sweeper.store.store import Store

WORKERS = 2
CELL = """
import json, sys
from pathlib import Path
from sweeper.worker.process import limit_threads
limit_threads(1)
from sweeper.store.store import Store
from sweeper.worker.runner import run_stage
specs = json.loads(Path(sys.argv[1]).read_text())
store = Store(Path(sys.argv[2]))
for spec in specs:
    run_stage(spec, store)
"""


def small_model(folder: Path) -> list[str]:
    """Overrides that name a model whose stages take seconds: 6 layers of width 256."""
    from tests import tiny

    tiny.make(folder / "model", hidden=256, layers=6, intermediate=768)
    text = folder / "text.txt"
    tiny.text(text)
    text.write_text(text.read_text() * 8)
    return [
        "experiment=grid",
        "model=custom",
        f"model.id={folder / 'model'}",
        "model.name=small",
        "tasks=none",
        f"calibration.path={text}",
        "calibration.samples=48",
        "calibration.length=256",
    ]


def demo_model(folder: Path) -> list[str]:
    """Overrides of the demo on the converted checkpoint, so that neither side converts it."""
    home = folder / "convert"
    isorate(
        "run",
        "model=smollm2-135m",
        "tasks=none",
        f"home={home}",
        "checkpoints=keep",
        "tracking.enabled=false",
        "name=convert",
    )
    (checkpoint,) = (home / "store" / "convert").glob("*/checkpoint")
    shutil.move(checkpoint, folder / "model")
    shutil.rmtree(home)
    return [
        "experiment=demo",
        "model=custom",
        f"model.id={folder / 'model'}",
        "model.name=smollm2",
        "model.group_size=64",
        "model.compute_dtype=bfloat16",
    ]


def isorate(*words: str) -> None:
    """Run the console command; its progress goes to our stderr."""
    subprocess.run([sys.executable, "-m", "sweeper", *words], check=True, stdout=subprocess.PIPE)


def ours(overrides: list[str], home: Path) -> float:
    """Wall seconds of one `isorate run`."""
    started = time.perf_counter()
    isorate(
        "run",
        *overrides,
        f"home={home}",
        "name=bench",
        f"hydra.launcher.workers={WORKERS}",
        "tracking.enabled=false",
    )
    return time.perf_counter() - started


def obvious(record: dict[str, Any], folder: Path) -> float:
    """Wall seconds of every cell alone in its process, WORKERS at a time."""
    script = folder / "cell.py"
    script.write_text(CELL)
    root = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}

    def one(cell: dict[str, Any]) -> None:
        keys = [k for role, k in cell["stages"].items() if role != "evaluate"]
        keys += cell["stages"]["evaluate"].values()
        plan = folder / f"{cell['key']}.json"
        plan.write_text(json.dumps([record["stages"][key] for key in keys]))
        command = [sys.executable, str(script), str(plan), str(folder / cell["key"])]
        with (folder / f"{cell['key']}.log").open("w") as log:
            subprocess.run(command, check=True, env=environment, stdout=log, stderr=log)

    started = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, record["cells"]))
    return time.perf_counter() - started


def same(record: dict[str, Any], home: Path, folder: Path) -> tuple[int, int]:
    """(checkpoints, scores) that are byte for byte the same on both sides.

    Raises:
        AssertionError: one is not.
    """
    ours_, checkpoints, scores = Store(home), 0, 0
    for cell in record["cells"]:
        theirs = Store(folder / cell["key"])
        stages = cell["stages"]
        for role in ("prune", "quantize"):
            if role in stages:
                spec = record["stages"][stages[role]]
                assert weights(ours_, spec) == weights(theirs, spec), (cell["label"], role)
                checkpoints += 1
        for key in stages["evaluate"].values():
            spec = record["stages"][key]
            one, other = ours_.result(spec), theirs.result(spec)
            assert one is not None
            assert other is not None
            assert one["metrics"] == other["metrics"], (cell["label"], spec["params"]["task"])
            scores += 1
    return checkpoints, scores


def weights(store: Store, spec: dict[str, Any]) -> dict[str, str]:
    """Hashes of a stage's weight files."""
    manifest = store.manifest(spec)
    assert manifest is not None
    files = manifest["files"]
    return {name: f["sha256"] for name, f in files.items() if name.endswith(".safetensors")}


def seconds(record: dict[str, Any], home: Path) -> tuple[float, float]:
    """(seconds of all stages if no cell shared any, seconds of the distinct stages)."""
    store = Store(home)
    took = {}
    for key, spec in record["stages"].items():
        manifest = store.manifest(spec)
        assert manifest is not None
        took[key] = float(manifest["seconds"])

    def lineage(spec: dict[str, Any], found: set[str]) -> set[str]:
        found.add(spec["key"])
        for parent in spec["parents"].values():
            lineage(parent, found)
        return found

    alone = 0.0
    for cell in record["cells"]:
        found: set[str] = set()
        for role, key in cell["stages"].items():
            for one in key.values() if role == "evaluate" else [key]:
                lineage(record["stages"][one], found)
        alone += sum(took[key] for key in found)
    return alone, sum(took.values())


def cpu_seconds(record: dict[str, Any], home: Path) -> float:
    """CPU seconds of the distinct stages; the first of a worker holds its imports."""
    store = Store(home)
    manifests = [store.manifest(spec) for spec in record["stages"].values()]
    return sum(float(manifest["cpu_seconds"]) for manifest in manifests if manifest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["grid", "demo"], nargs="?", default="grid")
    parser.add_argument("--limit", type=int, help="documents of each task; default: all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        overrides = (small_model if options.what == "grid" else demo_model)(folder)
        overrides += [f"tasks.limit={options.limit}"] if options.limit else []
        home = folder / "home"
        mine = ours(overrides, home)
        record = Sweep(home, "bench").load()
        cells = folder / "cells"
        cells.mkdir()
        theirs = obvious(record, cells)
        checkpoints, scores = same(record, home, cells)
        alone, distinct = seconds(record, home)
        work = cpu_seconds(record, home)
    ceiling = alone / distinct
    print(f"{platform.machine()}, {os.cpu_count()} cores, {WORKERS} processes at a time")
    print(f"cells: {len(record['cells'])}, stages: {len(record['stages'])}")
    print(f"isorate {mine:.1f} s, each cell alone {theirs:.1f} s: {theirs / mine:.2f} times faster")
    print(f"ceiling of sharing by the measured stage times: {ceiling:.2f}")
    print(f"reached: {theirs / mine / ceiling:.2f} of it (the starts saved included)")
    times = mine / (work / WORKERS)
    print(f"stages: {work:.0f} CPU s; {times:.2f} times the wall of {WORKERS} perfect workers")
    print(f"the same on both sides: {checkpoints} checkpoints, {scores} scores")


if __name__ == "__main__":
    main()
