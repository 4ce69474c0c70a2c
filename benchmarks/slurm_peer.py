"""A sweep on a SLURM cluster, beside hydra-submitit-launcher running the same cells.

    python benchmarks/slurm_peer.py [--model tiny] [--kill] [--peer DIRECTORY]

Starts the cluster of tests/slurm (root, Debian's SLURM packages). Both may run two jobs at
a time and carry out the same stages with the same code; theirs is one Hydra job for each
cell (benchmarks/apps/obvious.py), ours is `isorate run hydra/launcher=slurm`. With --kill
one running job of each is killed with signal 9. --peer: where hydra-submitit-launcher is
installed, if not in this environment (pip install --no-deps --target DIRECTORY ...).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import slurm_lab  # noqa: E402
from sweeper.planning.sweep import Sweep  # noqa: E402
from sweeper.store.store import Store  # noqa: E402
from tests import tiny  # noqa: E402

REQUEST = {"cpus_per_task": 1, "gpus_per_node": 0, "mem_gb": 3, "timeout_min": 60}
LAUNCHER = [f"hydra.launcher.{key}={value}" for key, value in REQUEST.items()]


def grid(folder: Path, model: str) -> list[str]:
    """The overrides of the sweep."""
    if model == "demo":
        return ["experiment=demo", "tracking.enabled=false"]
    tiny.make(folder / "model")
    tiny.text(folder / "text.txt")
    return [
        "model=custom",
        f"model.id={folder}/model",
        "model.group_size=64",
        "prune.sparsity=0,50",
        "quant.bits=16,4",
        "calibration.name=t",
        f"calibration.path={folder}/text.txt",
        "calibration.samples=4",
        "calibration.length=64",
        "tasks.names=[demo_agreement]",
        "tasks.limit=16",
        "tracking.enabled=false",
    ]


def ours(home: Path, overrides: list[str], stages: int) -> tuple[float, float]:
    """Wall seconds until every stage is done, and until the last job has reported."""
    began = time.monotonic()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "sweeper",
            "run",
            "name=bench",
            f"home={home}",
            *overrides,
            "hydra/launcher=slurm",
            "hydra.launcher.array_parallelism=2",
            "hydra.launcher.collect=[report]",
            "hydra.launcher.kinds={round:{mem_gb:2}}",
            *LAUNCHER,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    print(f"  ours: the prompt is back after {time.monotonic() - began:.1f} s", flush=True)
    jobs, finished = home / "sweeps" / "bench" / "jobs", 0.0
    while True:
        if not finished and len(list((home / "store").glob("*/*/manifest.json"))) == stages:
            finished = time.monotonic() - began
        found = [json.loads(path.read_text()) for path in sorted(jobs.glob("*.round.json"))]
        if found and "verbs" in found[-1] and not found[-1]["resubmitted"]:
            return finished, time.monotonic() - began
        time.sleep(0.5)


def theirs(home: Path, plan: Path, cells: int) -> tuple[float, int]:
    """(wall seconds until the sweep returns, its exit status)."""
    began = time.monotonic()
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "benchmarks" / "apps" / "obvious.py"),
            "-m",
            f"cell={','.join(map(str, range(cells)))}",
            f"plan={plan}",
            f"home={home}",
            "hydra/launcher=submitit_slurm",
            "hydra.launcher.array_parallelism=2",
            f"hydra.sweep.dir={home}/multirun",
            *LAUNCHER,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    if done.returncode:
        print(f"  theirs: {done.stderr.strip().splitlines()[-1]}")
    return time.monotonic() - began, done.returncode


def kill_one(folder: Path, after_s: float = 5.0) -> None:
    """Kill the first job with a log below this folder, once it has worked for some seconds."""
    while True:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            entries = (b"launchers.slurm.job.entrypoint", b"submitit.core._submit")
            started = any(name in command for name in entries) and b"srun" not in command
            if started and str(folder).encode() in command:
                time.sleep(after_s)
                os.kill(int(process.name), signal.SIGKILL)
                return
        time.sleep(0.5)


def scores(store: Store) -> dict[str, Any]:
    """Result of each evaluation, by key."""
    found = {}
    for path in store.root.glob("evaluate/*/result.json"):
        found[path.parent.name] = json.loads(path.read_text())["metrics"]
    return found


def with_kill(kill: bool, folder: Path) -> threading.Thread | None:
    """A thread that kills one job, begun; or none."""
    if not kill:
        return None
    thread = threading.Thread(target=kill_one, args=(folder,), daemon=True)
    thread.start()
    return thread


def compare(folder: Path, model: str, kill: bool) -> None:
    overrides = grid(folder, model)
    home = folder / "ours"
    with_kill(kill, home)
    asked = [sys.executable, "-m", "sweeper", "plan", "output=json", f"home={home}", *overrides]
    plan_ = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=ROOT)
    finished, seconds = ours(home, overrides, json.loads(plan_.stdout)["stages"]["total"])
    sweep = Sweep(home, "bench")
    (plan,) = sweep.path.glob("plan-*.json")
    cells = sweep.load()["cells"]
    here = scores(Store(home))
    with_kill(kill, folder / "theirs")
    wall, status = theirs(folder / "theirs", plan, len(cells))
    there: dict[str, Any] = {}
    for n in range(len(cells)):
        there |= scores(Store(folder / "theirs" / str(n)))
    same = sum(here.get(key) == value for key, value in there.items())
    print(f"{len(cells)} cells, two jobs at a time{', one job killed' if kill else ''}")
    print(f"  ours:   {finished:6.1f} s, {len(here)} scores; {seconds:.1f} s with the report")
    values = "nothing" if status else "its values"
    print(
        f"  theirs: {wall:6.1f} s, {len(there)} scores on disk, exit status {status}, "
        f"the sweep returned {values}; {same} scores equal ours"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("tiny", "demo"), default="tiny")
    parser.add_argument("--kill", action="store_true", help="kill one job of each")
    parser.add_argument("--peer", type=Path, help="directory with hydra-submitit-launcher")
    options = parser.parse_args()
    if options.peer:
        sys.path.insert(0, str(options.peer))
    found = importlib.util.find_spec("hydra_plugins")
    peer = [Path(place) for place in (found.submodule_search_locations if found else []) or []]
    there = any((place / "hydra_submitit_launcher").is_dir() for place in peer)
    if (why := slurm_lab.lacking()) or not there:
        print(f"benchmarks/slurm_peer.py: {why or 'hydra-submitit-launcher is missing'}: skipped")
        return
    paths = [options.peer] if options.peer else []
    with slurm_lab.cluster(*paths, nodes="1", cpus="2") as folder:
        compare(folder, options.model, options.kill)


if __name__ == "__main__":
    main()
