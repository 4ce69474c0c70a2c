"""What dispatch adds to a sweep whose stages last a minute: prune, quantize, score in a chain.

    python benchmarks/slurm_overhead.py [--seconds 60]

The stages sleep, so that the cluster may run on a machine of any size. The figure is the
seconds of the stages on the critical path over the wall time until the last is committed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
sys.dont_write_bytecode = True

from benchmarks import slurm_lab  # noqa: E402
from tests.launchers.slurm_rig import SlurmRig  # noqa: E402


def measure(root: Path, seconds: float, pack: str) -> None:
    rig = SlurmRig(root / pack)
    stages, ends = [], []
    for p in range(3):
        prune = rig.make(f"p{p}", sleep=seconds, estimate_s=seconds)
        stages.append(prune)
        for q in range(2):
            parents = {"model": prune}
            quantize = rig.make(f"p{p}q{q}", parents=parents, sleep=seconds, estimate_s=seconds)
            score = rig.score(f"p{p}q{q}t", quantize, sleep=seconds, estimate_s=seconds)
            stages += [quantize, score]
            ends.append((prune, quantize, score))
    began = time.monotonic()
    rig.run(stages, collect=[], pack=pack, timeout_min=30, startup_s=20.0)
    while not rig.done(stages):
        time.sleep(0.1)
    wall = time.monotonic() - began
    critical = max(sum((rig.store.manifest(s) or {})["seconds"] for s in end) for end in ends)
    print(f"pack={pack}: {len(stages)} stages, {critical:.1f} s on the critical path, "
          f"{wall:.1f} s wall: {critical / wall:.3f}", flush=True)  # fmt: skip
    while not rig.table().rounds:
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each stage")
    options = parser.parse_args()
    if why := slurm_lab.lacking():
        print(f"benchmarks/slurm_overhead.py: {why}: skipped")
        return
    with slurm_lab.cluster() as folder:
        for pack in ("cell", "stage"):
            measure(folder, options.seconds, pack)


if __name__ == "__main__":
    main()
