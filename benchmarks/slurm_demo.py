"""The demo on a SLURM cluster beside the same on this machine: every score, to the last digit.

    python benchmarks/slurm_demo.py --home DIRECTORY [--local HOME]

Starts the cluster of tests/slurm (root, Debian's SLURM packages) with two slots and runs
`isorate run hydra/launcher=slurm experiment=demo` there with its home in DIRECTORY, which is
kept. Compared with the demo in HOME, or one that is run here afterwards, by tests/slurm/same.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import slurm_lab  # noqa: E402

DEMO = [sys.executable, "-m", "sweeper", "run", "experiment=demo"]
# nodes without GPUs, and memory for one model of 135 million parameters
REQUEST = [
    "hydra/launcher=slurm",
    "hydra.launcher.gpus_per_node=0",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=3",
    "hydra.launcher.timeout_min=60",
    "hydra.launcher.array_parallelism=2",
    "hydra.launcher.kinds={round:{gpus_per_node:0,cpus_per_task:1,mem_gb:2,timeout_min:60}}",
]


def on_cluster(home: Path) -> None:
    """Submit the demo and wait for the last job's record."""
    began = time.monotonic()
    subprocess.run([*DEMO, f"home={home}", *REQUEST], cwd=ROOT, check=True)
    print(f"the prompt is back after {time.monotonic() - began:.1f} s", flush=True)
    jobs = home / "sweeps" / "demo" / "jobs"
    while not (done := _ended(jobs)):
        time.sleep(1)
    print(f"all is done after {time.monotonic() - began:.1f} s")
    print("  then", ", ".join(f"{verb} ended with {code}" for verb, code in done["verbs"].items()))
    for job in done["accounting"]:
        print(
            f"  job {job['job']} on {job['node']}: {job['state']}, {len(job['stages'])} stages, "
            f"{job['elapsed_s']:.0f} s, {job['max_rss_bytes'] / 1e9:.2f} GB"
        )


def _ended(jobs: Path) -> dict[str, dict[str, int]]:
    """The record of the last round once it has nothing more to do; else {}."""
    records = [json.loads(path.read_text()) for path in sorted(jobs.glob("*.round.json"))]
    over = records and "verbs" in records[-1] and not records[-1]["resubmitted"]
    return records[-1] if over else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, required=True, help="directory of the cluster's run")
    parser.add_argument("--local", type=Path, help="home of a demo of the local launcher")
    asked = parser.parse_args()
    if why := slurm_lab.lacking():
        print(f"benchmarks/slurm_demo.py: {why}: skipped")
        return
    here, local = asked.home.absolute(), asked.local or asked.home.absolute() / "local"
    with slurm_lab.cluster(nodes="1", cpus="2"):
        on_cluster(here)
        if not asked.local:
            subprocess.run([*DEMO, f"home={local}"], cwd=ROOT, check=True)
        same = [sys.executable, "-m", "tests.slurm.same", str(here), str(local)]
        sys.exit(subprocess.run(same, cwd=ROOT, check=False).returncode)


if __name__ == "__main__":
    main()
