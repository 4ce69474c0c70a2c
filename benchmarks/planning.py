"""Planning 10,000 cells, beside Hydra's own BasicSweeper on 100 cells of the same configuration.

    python benchmarks/planning.py [--cells 10000] [--basic 100]

Both are whole processes, start included; the last line is the ratio per cell.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OURS = [sys.executable, "-m", "sweeper", "plan", "experiment=grid"]
# The paper's grid has 45 cells; each calibration seed makes 44 of them anew (dense has none).
CELLS_PER_SEED, SHARED = 44, 1

BASIC = """
import hydra
from sweeper.cli import plugins
plugins.register()

@hydra.main(config_path="pkg://conf", config_name="config")
def app(cfg):
    cfg.quant.bits

app()
"""


def measured(command: list[str], **kwargs: object) -> tuple[float, float, float, str]:
    """(wall seconds, CPU seconds, peak MB, stdout) of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, **kwargs)  # type: ignore[call-overload]
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, after.ru_maxrss / 1024, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--basic", type=int, default=100)
    options = parser.parse_args()
    seeds = -(-(options.cells - SHARED) // CELLS_PER_SEED)
    with tempfile.TemporaryDirectory() as home:
        ours = [*OURS, f"calibration.seed=range(0,{seeds})", f"home={home}"]
        measured([*OURS, f"home={home}"])  # warm the file cache
        wall, cpu, peak, text = measured(ours)
        cells = int(text.split(" cells in ")[0].split()[-1])
        script = Path(home) / "basic.py"
        script.write_text(BASIC)
        basic = [
            sys.executable,
            str(script),
            "hydra/sweeper=basic",
            "hydra/launcher=basic",
            f"hydra.sweep.dir={home}/multirun",
            f"calibration.seed=range(0,{options.basic})",
        ]
        basic_wall, basic_cpu, basic_peak, _ = measured(basic, cwd=home)
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print(f"isorate plan:  {cells} cells in {wall:.2f} s wall, {cpu:.2f} s CPU, {peak:.0f} MB peak")
    print(
        f"BasicSweeper:  {options.basic} cells in {basic_wall:.2f} s wall, {basic_cpu:.2f} s CPU, "
        f"{basic_peak:.0f} MB peak"
    )
    ratio = (basic_cpu / options.basic) / (cpu / cells)
    print(
        f"per cell: {1e3 * cpu / cells:.3f} ms against {1e3 * basic_cpu / options.basic:.1f} ms "
        f"CPU, a factor of {ratio:.0f}"
    )
    print(json.dumps({"cells": cells, "wall_s": wall, "cpu_s": cpu, "peak_mb": peak}))


if __name__ == "__main__":
    main()
