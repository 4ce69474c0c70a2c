"""A report of 1,000 cells x 10 tasks: CPU seconds, memory and the size of the page.

    python benchmarks/report.py [--cells 1000] [--tasks 10] [--profile]

The numbers are made up (no documents, hence no bootstrap); the process is a whole one, start
and imports included. The target is 10 CPU seconds, 1 GB and a page of at most 3 MB.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import pstats
import resource
import tempfile
from pathlib import Path
from typing import Any

TARGET_S, TARGET_MB, TARGET_PAGE_MB = 10.0, 1000.0, 3.0
PATTERNS = {"": 0.0, "2:8": 2 / 8, "1:4": 1 / 4, "1:3": 1 / 3, "2:4": 2 / 4} | {
    f"unstructured {p}": p / 100 for p in (10, 20, 25, 30, 40, 50, 60, 66, 70, 75)
}
METHODS = {
    16: ("",),
    8: ("gptq", "llm_int8", "rtn"),
    4: ("gptq", "nf4", "rtn"),
    3: ("gptq", "rtn"),
    2: ("gptq", "rtn"),
}
PRUNERS = ("sparsegpt", "wanda", "magnitude")


def cells(count: int) -> list[dict[str, Any]]:
    """`count` different cells of one model, the dense one first."""
    made = []
    for seed, (pattern, p), bits in itertools.product(range(100), PATTERNS.items(), METHODS):
        for pruner, quantizer in itertools.product(PRUNERS if p else ("",), METHODS[bits]):
            if seed and not p and bits == 16:
                continue
            key = f"c{len(made):05d}"
            label = f"{pruner} {pattern} + {quantizer} {bits}bit" if p or bits < 16 else "dense"
            made.append(
                {
                    "cell": key,
                    "label": label,
                    "model": "made-up-8b",
                    "prune_method": pruner,
                    "sparsity": p,
                    "pattern": pattern.split()[0] if p else "",
                    "quant_method": quantizer,
                    "bits": bits,
                    "calibration_seed": seed,
                    "mask": "keep" if p and bits < 16 else "none",
                    "status": "done",
                    "reason": "",
                    "achieved_sparsity": p,
                    "containment": 1.0,
                    "linear_weights": 7e9,
                    "total_weights": 8e9,
                    "bytes": 2e9 + 7e9 * bits / 8,
                    "group_size": 128,
                    "device": "cuda",
                    "seconds": 100.0,
                }
            )
            if len(made) == count:
                return made
    raise SystemExit(f"at most {len(made)} cells")


def scores(made: list[dict[str, Any]], tasks: int) -> list[dict[str, Any]]:
    """One accuracy per cell and task, falling with compression, with binomial errors."""
    import numpy as np

    rng, rows = np.random.default_rng(0), []
    for cell in made:
        kept = (1 - cell["sparsity"] ** 3) * (1 - 0.9 / cell["bits"] ** 1.2)
        for task in range(tasks):
            value = float(np.clip((0.35 + 0.05 * task) * kept + rng.normal(0, 0.01), 0, 1))
            rows.append(
                {
                    "cell": cell["cell"],
                    "task": f"task_{task}",
                    "metric": "acc",
                    "value": value,
                    "stderr": (value * (1 - value) / 1000) ** 0.5,
                    "n": 1000,
                    "version": "1",
                    "higher_is_better": True,
                    "chance": 0.25,
                    "primary": True,
                }
            )
    return rows


def main() -> None:
    """Write the report once and hold it against the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    options = parser.parse_args()
    import pandas as pd

    from analysis.data.results import Results
    from analysis.report.report import write_report

    made = cells(options.cells)
    results = Results(cells=pd.DataFrame(made), scores=pd.DataFrame(scores(made, options.tasks)))
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory() as out:
        if options.profile:
            profile.enable()
        files = write_report(results, Path(out), title="Benchmark", provenance={})
        profile.disable()
        page = files["report.html"].stat().st_size / 1e6
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    print(
        f"{options.cells} cells x {options.tasks} tasks: {seconds:.1f} CPU s "
        f"(target {TARGET_S:g}), {memory:.0f} MB (target {TARGET_MB:g}), page {page:.2f} MB "
        f"(target {TARGET_PAGE_MB:g})"
    )
    if options.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(60)


if __name__ == "__main__":
    main()
