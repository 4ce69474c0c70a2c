"""What dispatch adds to a sweep whose stages sleep, so that a machine of any size will do.

    python benchmarks/slurm_overhead.py [--seconds 60] [--grid]

A chain of prune, quantize and score, each a minute: the seconds of the stages on the critical
path over the wall time until the last is committed. With --grid, the 45-cell grid without
scores, two jobs at a time: the ratio of every cell made alone, on two slots that never wait
and start at once, to our wall time; and that as a share of what sharing stages allows.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

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
    print(
        f"pack={pack}: {len(stages)} stages, {critical:.1f} s on the critical path, "
        f"{wall:.1f} s wall: {critical / wall:.3f}",
        flush=True,
    )
    while not rig.table().rounds:
        time.sleep(0.5)


def grid(root: Path, seconds: float) -> None:
    """Dense and eight pruned models, each as it is and quantized four times; all measured."""
    rig = SlurmRig(root / "grid")
    stages: list[Any] = []
    alone = 0.0
    for p in range(9):
        above = [rig.make(f"p{p}", sleep=seconds, estimate_s=seconds)] if p else []
        for q in range(5):
            parents = {"model": above[0]} if above else {}
            made = {"sleep": seconds, "estimate_s": seconds, "parents": parents}
            own = [*above, *([rig.make(f"p{p}q{q}", **made)] if q else [])]
            look = {"sleep": seconds / 10, "estimate_s": seconds / 10}
            measure = rig.score(f"p{p}q{q}m", own[-1], **look) if own else rig.make("dense", **look)
            stages += [*own, measure]
            alone += seconds * len(own) + seconds / 10
    distinct = {stage["key"]: stage for stage in stages}
    began = time.monotonic()
    rig.run(list(distinct.values()), collect=[], timeout_min=30, startup_s=2.0, array_parallelism=2)
    print("   ", rig.ear.said[-1])
    while not rig.done(stages):
        time.sleep(0.1)
    wall = time.monotonic() - began
    ceiling = alone / sum(stage["estimate_s"] for stage in distinct.values())
    gain = alone / 2 / wall
    print(
        f"45 cells: {alone / 2:.1f} s alone on two slots, {wall:.1f} s wall: {gain:.3f} "
        f"of at most {ceiling:.3f}: {gain / ceiling:.3f}",
        flush=True,
    )
    while not rig.table().rounds:
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each stage")
    parser.add_argument("--grid", action="store_true", help="the 45-cell grid instead")
    options = parser.parse_args()
    if why := slurm_lab.lacking():
        print(f"benchmarks/slurm_overhead.py: {why}: skipped")
        return
    if options.grid:
        with slurm_lab.cluster(nodes="1", cpus="2") as folder:
            grid(folder, options.seconds)
        return
    with slurm_lab.cluster() as folder:
        for pack in ("cell", "stage"):
            measure(folder, options.seconds, pack)


if __name__ == "__main__":
    main()
