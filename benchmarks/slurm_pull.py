"""Jobs that pull against jobs that wait for each other, on a real rig and on a simulated one.

    python benchmarks/slurm_pull.py [--slots 4 8] [--runs 3] [--kills 50] [--simulate]

Without --simulate: the 45-cell grid with stages that sleep 8 s on the real cluster of
tests/slurm, wall over floor (the larger of work by slots and the longest chain), the median of
some runs; then 45 cells of stand-in stages while workers are killed at random, with the tables of
the report beside those of a calm local run. With it: 20 seeds of a busy
cluster of 16 slots (benchmarks/slurm_simulator.py), the makespan by pulling over that by
dependencies, and the upper 95 % limit of its mean.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
sys.dont_write_bytecode = True

from scipy import stats  # noqa: E402

from benchmarks import slurm_lab, slurm_simulator  # noqa: E402
from launchers import leases  # noqa: E402
from launchers.slurm import records  # noqa: E402
from launchers.slurm.resources.resources import Resources  # noqa: E402
from sweeper.planning.sweep import Sweep  # noqa: E402
from sweeper.store.store import Store  # noqa: E402
from tests.launchers.slurm_rig import SlurmRig  # noqa: E402
from tests.slurm import same  # noqa: E402
from tests.stubs import kinds as standin  # noqa: E402


def grid(rig: SlurmRig, seconds: float) -> list[Any]:
    """Dense and eight pruned models, each as it is and quantized four times; all measured."""
    stages: dict[str, Any] = {}
    made = {"sleep": seconds, "estimate_s": seconds}
    look = {"sleep": seconds / 10, "estimate_s": seconds / 10}
    for p in range(9):
        above = [rig.make(f"p{p}", **made)] if p else []
        for q in range(5):
            parents = {"model": above[0]} if above else {}
            own = [*above, *([rig.make(f"p{p}q{q}", parents=parents, **made)] if q else [])]
            score = rig.score(f"p{p}q{q}m", own[-1], **look) if own else rig.make("dense", **look)
            stages |= {stage["key"]: stage for stage in (*own, score)}
    return list(stages.values())


def finish(rig: SlurmRig, stages: list[Any]) -> None:
    while not rig.done(stages):
        time.sleep(0.05)


def measure(root: Path, seconds: float, slots: int, runs: int) -> None:
    found = []
    for number in range(runs):
        rig = SlurmRig(root / f"slots{slots}-{number}")
        stages = grid(rig, seconds)
        floor = slurm_simulator.floor(stages, slots)
        began = time.monotonic()
        rig.run(stages, collect=[], pack="pull", array_parallelism=slots, timeout_min=60)
        submitted = time.monotonic() - began
        finish(rig, stages)
        wall = time.monotonic() - began
        found.append(wall / floor)
        print(
            f"{slots} slots: floor {floor:.1f} s, wall {wall:.1f} s ({submitted:.1f} s of it "
            f"until submitted): {wall / floor:.3f}",
            flush=True,
        )
        while not rig.table().rounds:
            time.sleep(0.5)
    print(f"{slots} slots: median {statistics.median(found):.3f}", flush=True)


GRID = (
    "name=kills",
    "model=custom",
    "model.name=tiny",
    "model.group_size=32",
    "calibration.samples=4",
    "calibration.length=32",
    "tasks.names=[demo_agreement]",
    "prune.sparsity=0,10,20,25,33.333,40,50,60,75",
    "quant.bits=16,8,4,3,2",
    "tracking.enabled=false",
    "++hydra.launcher.stages=tests.stubs.kinds",
)
"""45 cells of stand-ins for the real stages, whose scores follow from their parameters."""


def isorate(verb: str, *words: str, **env: str) -> None:
    command = [sys.executable, "-m", "sweeper", verb, *GRID, *words]
    subprocess.run(command, check=True, env=os.environ | env, stdout=subprocess.DEVNULL)


def kill(root: Path, seconds: float, kills: int, seed: int) -> None:
    """Kill workers at random moments: only what they were at runs again, and tables are equal."""
    rng, model = random.Random(seed), standin.model(root / "model")
    calm, home = root / "calm", root / "killed"
    isorate("run", f"home={calm}", f"model.id={model}", "hydra.launcher.workers=2")
    isorate(
        "run",
        f"home={home}",
        f"model.id={model}",
        "hydra/launcher=slurm",
        "hydra.launcher.pack=pull",
        "hydra.launcher.array_parallelism=4",
        "hydra.launcher.gpus_per_node=0",
        "hydra.launcher.cpus_per_task=1",
        "hydra.launcher.mem_gb=1",
        "hydra.launcher.timeout_min=60",
        "hydra.launcher.kinds={round:{gpus_per_node:0,cpus_per_task:1,mem_gb:1}}",
        "hydra.launcher.collect=[report]",
        f"hydra.launcher.retry={{rounds:{kills}}}",
        STANDIN_SECONDS=str(seconds),
    )
    sweep, store = Sweep(home, "kills"), Store(home)
    stages = sweep.load()["stages"]
    killed: Counter[str] = Counter()
    until = time.monotonic() + 3600
    while not all(map(store.is_done, stages.values())) and time.monotonic() < until:
        time.sleep(rng.uniform(0.2, 1.2))
        at = {
            key: leases.holder(leases.of_stage(home, key))
            for key, stage in stages.items()
            if not store.is_done(stage)
        }
        alive = [(key, holder) for key, holder in at.items() if holder is not None]
        if alive and killed.total() < kills:
            key, holder = rng.choice(alive)
            killed[key] += 1
            with suppress(ProcessLookupError):
                os.kill(holder.pid, signal.SIGKILL)
    runs = {key: len(records.attempts(sweep.path, key)) for key in stages}
    again = sum(runs.values()) - len(stages)
    wrong = [key for key in runs if runs[key] > 1 + killed[key]]
    isorate("report", f"home={home}", f"model.id={model}")
    tables = [same.tables(one, "kills") for one in (calm, home)]
    print(
        f"{killed.total()} kills: {len(stages)} stages, all done: "
        f"{all(map(store.is_done, stages.values()))}; {again} runs again, of stages that were not "
        f"killed: {len(wrong)}; {len(tables[0])} tables of the report as in a calm run, "
        f"{len(same.different(*tables))} differ",
        flush=True,
    )


def simulate(seeds: int, slots: int, load: float) -> None:
    rig = SlurmRig(Path("/nowhere"))
    stages = grid(rig, 600.0)
    asked, least = Resources(timeout_min=120), slurm_simulator.floor(stages, slots)
    ratios, each = [], []
    for seed in range(seeds):
        options = {"seed": seed, "slots": slots, "load": load, "startup_s": 20.0}
        today, pulled = (
            slurm_simulator.makespan(how, stages, asked, **options)
            for how in (slurm_simulator.by_dependencies, slurm_simulator.by_pulling)
        )
        ratios.append(pulled / today)
        each.append((today / least, pulled / least))
    mean, error = statistics.mean(ratios), statistics.stdev(ratios) / math.sqrt(seeds)
    today, pulled = (statistics.mean(column) for column in zip(*each, strict=True))
    print(
        f"{seeds} seeds, {slots} slots, load {load}: {today:.2f} of the floor by dependencies, "
        f"{pulled:.2f} by pulling; ratio {mean:.3f} +- {error:.3f}, upper 95 % limit "
        f"{mean + stats.t.ppf(0.95, seeds - 1) * error:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each stage")
    parser.add_argument("--slots", type=int, nargs="*", default=[4, 8])
    parser.add_argument("--runs", type=int, default=3, help="of each number of slots")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--simulate", action="store_true", help="the busy cluster, simulated")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--load", type=float, default=0.95)
    options = parser.parse_args()
    if options.simulate:
        simulate(options.seeds, 16, options.load)
        return
    if why := slurm_lab.lacking():
        print(f"benchmarks/slurm_pull.py: {why}: skipped")
        return
    with slurm_lab.cluster() as folder:
        for slots in options.slots:
            measure(folder, options.seconds, slots, options.runs)
        if options.kills:
            kill(folder, options.seconds / 4, options.kills, seed=1)


if __name__ == "__main__":
    main()
