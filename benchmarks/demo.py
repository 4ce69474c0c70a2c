"""The demo as a newcomer runs it: wall time, peak memory, and how near it comes to the floor.

    python benchmarks/demo.py

The floor is (CPU seconds of the distinct stages + one import per worker) / workers. Memory is
the sum of the proportional set sizes (PSS) of all its processes, sampled twice a second.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from sweeper.planning.sweep import Sweep
from sweeper.store.store import Store

WORKERS = 2
IMPORTS = (
    "import time; import sweeper.stages.evaluate.stage, sweeper.stages.prune.stage, "
    "sweeper.stages.quantize, sweeper.stages.oneshot; print(time.process_time())"
)


def pss(process: psutil.Process) -> int:
    """Bytes of a process and all its descendants; what is shared counts once."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def main() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True
    )
    imports = float(done.stdout.split()[-1])
    with tempfile.TemporaryDirectory() as home:
        started = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "sweeper",
            "run",
            "experiment=demo",
            f"home={home}",
            f"hydra.launcher.workers={WORKERS}",
        ]
        process = psutil.Popen(command)
        peak = 0
        while process.poll() is None:
            peak = max(peak, pss(process))
            time.sleep(0.5)
        wall = time.perf_counter() - started
        if process.returncode:
            sys.exit(f"the demo ended with status {process.returncode}")
        record, store = Sweep(Path(home), "demo").load(), Store(Path(home))
        manifests = [store.manifest(spec) for spec in record["stages"].values()]
        work = sum(float(m["cpu_seconds"]) for m in manifests if m)
        kinds: dict[str, list[float]] = {}
        for manifest in manifests:
            assert manifest is not None
            kinds.setdefault(manifest["kind"], []).append(float(manifest["cpu_seconds"]))
    floor = (work + WORKERS * imports) / WORKERS
    print(f"{platform.machine()}, {os.cpu_count()} cores, {WORKERS} workers")
    for kind, values in kinds.items():
        print(f"  {kind:9s} {len(values):3d} stages, {sum(values):6.1f} CPU s")
    print(f"wall {wall:.0f} s; stages {work:.0f} CPU s; imports {imports:.1f} CPU s a worker")
    print(f"floor {floor:.0f} s: {wall / floor:.2f} times it; peak memory {peak / 1e9:.2f} GB PSS")


if __name__ == "__main__":
    main()
