"""What submitting and watching a sweep costs on a SLURM cluster, with stages that do nothing.

    python benchmarks/slurm.py [--cells 1000]

Starts the cluster of tests/slurm (root, Debian's SLURM packages). Measured are: 1,000
stages submitted as 1,000 jobs, and as the jobs of 1,000 cells; the state of 1,000 cells
while they wait, and after each of their jobs has ended without a result, which is the
most there is to read: a row per step, a log per job.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
sys.dont_write_bytecode = True

from benchmarks import slurm_lab  # noqa: E402
from tests.launchers.slurm_rig import SlurmRig  # noqa: E402

HOLD = {"additional_parameters": {"hold": True}}


def timed(name: str, act: Callable[[], Any], limit_s: float) -> Any:
    """Do it, print its wall and CPU seconds (children included) beside the target."""
    wall, before = time.perf_counter(), os.times()
    found = act()
    after = os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    spent = time.perf_counter() - wall
    print(f"{name:58s} {spent:6.2f} s wall {cpu:6.2f} s CPU   target {limit_s:g} s", flush=True)
    return found


def cells(rig: SlurmRig, count: int) -> list[Any]:
    """That many cells: a pruned model for every 25 of them, 24 times quantized."""
    return rig.grid(pruned=count // 25, quantized=24, tasks=2)


def ended(rig: SlurmRig) -> bool:
    """Whether no job of the sweep is in the queue any more."""
    states = rig.table().stages.values()
    return not any(state.live for state in states)


def measure(count: int, root: Path) -> None:
    rig = SlurmRig(root / "stages")
    stages = [rig.make(f"s{n}") for n in range(count)]
    timed(f"submit {count} stages as {count} jobs", lambda: rig.run(stages, **HOLD), 5)
    rig.launcher().cancel(rig.sweep.path)

    rig = SlurmRig(root / "cells")
    stages = cells(rig, count)
    name = f"submit {len(stages)} stages of {count} cells"
    timed(name, lambda: rig.run(stages, **HOLD), 5)
    print("   ", rig.ear.said[-1])
    timed(f"state of {count} waiting cells", rig.table, 2)
    timed("the same run again (submits nothing)", lambda: rig.run(stages, **HOLD), 5)
    timed("cancel", lambda: rig.launcher().cancel(rig.sweep.path), 5)

    rig = SlurmRig(root / "ended")
    stages = [rig.make(f"s{n}") for n in range(count)]
    # every job ends at once, and the round with them: only SLURM's side is left to read
    rig.run(stages, python="true", use_srun=False, mem_gb=0.05)
    while not ended(rig):
        time.sleep(2)
    table = timed(f"state of {count} ended cells", rig.table, 2)
    print("   ", {state.cause for state in table.stages.values()}, table.note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=1000, help="a multiple of 25")
    options = parser.parse_args()
    if why := slurm_lab.lacking():
        print(f"benchmarks/slurm.py: {why}: skipped")
        return
    with slurm_lab.cluster(max_array="1001") as folder:
        sbatch = subprocess.run(["sbatch", "--version"], capture_output=True, text=True, check=True)
        cores = os.cpu_count()
        print(f"{sbatch.stdout.strip()}, {cores} cores, Python {platform.python_version()}")
        measure(options.cells, folder)


if __name__ == "__main__":
    main()
