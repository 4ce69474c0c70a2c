"""What `isorate plan` expects of an empty home, beside the CPU seconds that the stages then took.

    isorate run experiment=methods
    python benchmarks/costs.py HOME experiment=methods

Takes the arguments of the sweep; prints one row per kind of stage and method or task, medians
over what is done in the store of HOME, and the totals. One worker with one thread has as many
CPU seconds as seconds when nothing else runs.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from sweeper.planning import builder
from sweeper.planning.estimate.cost import cost
from sweeper.planning.plan import Plan, Stage
from tests.composing import composed


class Nothing:
    """A store in which nothing is done."""

    def manifest(self, spec: Mapping[str, object]) -> None:
        """It has none."""
        return None

    def scan(self, kind: str) -> frozenset[str]:
        """Nothing."""
        return frozenset()


def planned(arguments: list[str]) -> Plan:
    chosen = [a for a in arguments if a.startswith("experiment=")]
    with composed(chosen) as (config, loader):
        params = [f"{k}={v}" for k, v in config.hydra.sweeper.params.items()]
        return builder.plan(config, loader, [*params, *arguments])


def named(stage: Stage) -> str:
    """'quantize gptq', 'evaluate demo_pydoc', 'sensitivity widths'."""
    params = stage.params
    what = params.get("method") or params.get("task") or ("widths" if "widths" in params else "")
    if stage.kind == "prune" and len(params.get("strengths", [0])) > 1:
        what += ", searched"
    return f"{stage.kind} {what}".strip()


def main() -> None:
    store, plan = Path(sys.argv[1]) / "store", planned(sys.argv[2:])
    spent = cost(plan, Nothing(), device="cpu", workers=1, keep="drop")
    rows: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for key, stage in plan.stages.items():
        file = store / stage.kind / key / "manifest.json"
        if file.is_file():
            taken = json.loads(file.read_text())["cpu_seconds"]
            rows[named(stage)].append((spent.estimates[key].seconds, taken))
    print(f"{'':36} {'n':>4} {'expected':>9} {'CPU s':>7} {'ratio':>6}")
    for name, pairs in sorted(rows.items()):
        expected, taken = (median(column) for column in zip(*pairs, strict=True))
        print(f"{name:36} {len(pairs):4} {expected:9.1f} {taken:7.1f} {expected / taken:6.2f}")
    expected, taken = (sum(c) for c in zip(*(p for r in rows.values() for p in r), strict=True))
    done = sum(map(len, rows.values()))
    print(f"{'these together':36} {done:4} {expected:9.1f} {taken:7.1f} {expected / taken:6.2f}")
    print(f"all {len(plan.stages)} stages: {spent.seconds:.0f} s expected")


if __name__ == "__main__":
    main()
