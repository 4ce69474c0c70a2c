"""A hundred thousand stages: planning them, asking for their state, finding what is left to do.

    python benchmarks/load.py [stages ...]

By default 25,000, 50,000 and 100,000 (the paper's grid and five tasks at so many calibration
seeds), in one home that grows: each plan is made from the command line and recorded, every
stage of it is then marked as done in the store, and `isorate status` and the scan of a
resumed run read all of that. Each is a process of its own: CPU seconds and peak memory, its
start included. The last line says how time and memory grow from the first to the last.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.planning import measured
from sweeper.planning.sweep import Sweep
from sweeper.store import files
from sweeper.store import manifest as manifests

ROOT = Path(__file__).resolve().parents[1]
PER_SEED = 308
RECORD = """
import sweeper.cli.commands.plan as verb
verb.perform = lambda request: request.sweep.record(request.plan, [], "drop") or 0
from sweeper.cli.main import main
main()
"""
SCAN = """
import sys
from pathlib import Path
from launchers.schedule import closure, missing
from sweeper.store.store import Store
from sweeper.planning.sweep import Sweep
home = Path(sys.argv[1])
stages = list(Sweep(home, sys.argv[2]).load()["stages"].values())
store = Store(home)
specs = closure(stages)
left = missing(stages, lambda spec, bulk: store.present(spec, bulk=bulk))
print(len(specs), len(left))
"""
VALUE = {"value": 0.5, "stderr": 0.02, "n": 200, "higher_is_better": True}
RESULTS: Mapping[str, Mapping[str, Any]] = {
    "evaluate": {"primary": "acc", "metrics": {"acc": VALUE}, "chance": 0.25, "collapsed": False},
    "measure": {"achieved_sparsity": 0.5, "bits_per_weight": {"total": 4.25}, "bytes": {}},
}


def main(sizes: list[int]) -> None:
    os.environ["PYTHONPATH"] = str(ROOT)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    seen = []
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        home = Path(directory)
        for size in sizes:
            seen.append(one(home, -(-size // PER_SEED)))
    first, last = seen[0], seen[-1]
    growth = last["stages"] / first["stages"]
    for what in ("plan", "status", "scan"):
        ratios = [last[f"{what} {unit}"] / first[f"{what} {unit}"] for unit in ("s", "MB")]
        print(
            f"{what}: {growth:.2f} times the stages take {ratios[0]:.2f} times the CPU seconds "
            f"and {ratios[1]:.2f} times the memory"
        )


def one(home: Path, seeds: int) -> dict[str, float]:
    """Plan, mark as done, ask, scan."""
    name = f"load{seeds}"  # a sweep of its own: two plans of one name are read together
    words = [
        "experiment=grid",
        f"name={name}",
        f"home={home}",
        f"calibration.seed=range(0,{seeds})",
    ]
    found: dict[str, float] = {}
    _, found["plan s"], found["plan MB"], _ = peak("-m", "sweeper", "plan", *words)
    subprocess.run([sys.executable, "-c", RECORD, "plan", *words], check=True)
    stages = Sweep(home, name).load()["stages"]
    found["stages"] = float(len(stages))
    for spec in stages.values():
        finish(home, spec)
    del stages
    _, found["status s"], found["status MB"], text = peak("-m", "sweeper", "status", *words[1:3])
    assert "missing" not in text, text[-2000:]
    _, found["scan s"], found["scan MB"], text = peak("-c", SCAN, str(home), name)
    assert text.split() == [str(int(found["stages"])), "0"], text
    print("  ".join(f"{name} {value:.2f}" for name, value in found.items()), flush=True)
    return found


def peak(*arguments: str) -> tuple[float, float, float, str]:
    """(wall seconds, CPU seconds, peak MB, stdout) of one Python process.

    It runs below a small process, since a peak is one of all children so far.
    """
    meter = (
        "import json, resource, subprocess, sys; "
        "d = subprocess.run(sys.argv[1:], capture_output=True, text=True, check=True); "
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(u.ru_maxrss / 1024); sys.stdout.write(d.stdout)"
    )
    wall, cpu, _, text = measured([sys.executable, "-c", meter, sys.executable, *arguments])
    megabytes, _, rest = text.partition("\n")
    return wall, cpu, float(megabytes), rest


def finish(home: Path, spec: Mapping[str, Any]) -> None:
    """Mark a stage as done, as `Store.commit` leaves it, without its flushes."""
    out = home / "store" / spec["kind"] / spec["key"]
    if out.exists():
        return
    out.mkdir(parents=True)
    files.write_json(out / manifests.RESULT, {**RESULTS.get(spec["kind"], {})} | spec["params"])
    manifest = {
        "kind": spec["kind"],
        "key": spec["key"],
        "device": "cpu",
        "seconds": 1.0,
        "attempt": "load",
        "files": manifests.listing(out),
    }
    files.write_json(out / manifests.NAME, manifests.seal(manifest))


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [25_000, 50_000, 100_000])
