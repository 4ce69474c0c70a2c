"""Every method beside the others: errors on a layer, then quality, time and memory of a model.

    python benchmarks/methods.py layer
    isorate run experiment=methods tasks.names=[demo_pydoc]
    python benchmarks/methods.py model

The second prints what the sweep `methods` of this home has found, and checks two figures: one
joint pass takes at most 0.6 of SparseGPT and then GPTQ, and no method takes more than twice
the memory of SparseGPT. Memory is the peak of the worker over the stage, libraries and what its
allocator has kept of earlier stages included: an upper bound.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

JOINT_AT_MOST, MEMORY_AT_MOST = 0.6, 2.0
MIXES = {
    "25 % + 4 bit": (0.25, None, 4),
    "2:8 + 4 bit": (0.25, (2, 8), 4),
    "33.333 % + 3 bit": (1 / 3, None, 3),
    "50 % + 4 bit": (0.5, None, 4),
    "50 % + 8 bit": (0.5, None, 8),
}
SEEDS = 3


def layer_table() -> None:
    """Relative errors of a layer's output and CPU seconds, mean over the seeds."""
    import torch

    torch.set_num_threads(1)
    for name, (sparsity, nm, bits) in MIXES.items():
        errors: dict[str, list[float]] = {}
        seconds: dict[str, list[float]] = {}
        for seed in range(SEEDS):
            for method, run in mixes(seed, sparsity, nm, bits).items():
                started = time.process_time()
                value = run()
                seconds.setdefault(method, []).append(time.process_time() - started)
                errors.setdefault(method, []).append(value)
        shown = ", ".join(
            f"{method} {sum(found) / SEEDS:.4f} ({sum(seconds[method]) / SEEDS:.2f} s)"
            for method, found in errors.items()
        )
        print(f"{name}: {shown}")


def mixes(
    seed: int, sparsity: float, nm: tuple[int, int] | None, bits: int
) -> dict[str, Callable[[], float]]:
    """Each way to prune and quantize one layer of 48 x 192 -> what gives its error."""
    import torch

    from sweeper.methods.hessian import inverse_factor
    from sweeper.methods.pruning.score_modifier import least_of_groups, least_of_rows
    from sweeper.methods.pruning.sparsegpt_modifier import block_of, sparsify
    from sweeper.methods.quantization.gptq_modifier import block_routine
    from sweeper.methods.quantization.rtn_modifier import nearest, values
    from tests.sweeper.methods.layers import error, layer
    from tests.sweeper.methods.obr import restored, rounded_in_two
    from tests.sweeper.methods.test_gptq import arguments, exact, grid, quantize
    from tests.sweeper.methods.test_joint import ours as joint

    weight, inputs = layer(48, 192, seed)
    hessian, args = 2 * inputs.t() @ inputs / len(inputs), arguments(num_bits=bits)
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(len(hessian))
    block = block_of(128, nm[1] if nm else 1)

    def pruned() -> torch.Tensor:
        factor, _ = inverse_factor(hessian.clone(), 0.01)
        return sparsify(
            weight.clone(),
            factor,
            sparsity=sparsity,
            nm=nm,
            block_size=block,
            matrices=[len(weight)],
        )

    def near(w: torch.Tensor) -> torch.Tensor:
        scale, zero = grid(w, args)
        return values(nearest(w, scale, zero, args), scale, zero)

    def kept() -> torch.Tensor:
        target = pruned()
        with block_routine((target != 0).unsqueeze(0)):
            return quantize(target, hessian, args)

    def wanda() -> torch.Tensor:
        score = weight.abs() * inputs.norm(dim=0)
        return ~(least_of_groups(score, nm) if nm else least_of_rows(score, sparsity))

    def obr() -> torch.Tensor:
        mask = wanda()
        return rounded_in_two(restored(weight, mask, damped), mask, damped, near, 0.5)

    ways: dict[str, Callable[[], torch.Tensor]] = {
        "joint": lambda: joint(weight, inputs, sparsity, nm, block, args)[0],
        "mask kept": kept,
        "mask exact": lambda: exact(pruned(), hessian, args),
        "mask ignored": lambda: quantize(pruned(), hessian, args),
        "rounded to nearest": lambda: near(pruned()),
        "OBR": obr,
        "restored, then exact": lambda: exact(restored(weight, wanda(), damped), hessian, args),
    }
    return {name: lambda way=way: error(way(), weight, inputs) for name, way in ways.items()}


def rows(home: Path, name: str) -> list[dict[str, Any]]:
    """What the sweep ``name`` found of each cell that is done."""
    from sweeper.planning.sweep import Sweep
    from sweeper.results.outcomes import collect
    from sweeper.store.store import Store

    outcomes = collect(Sweep(home, name).load(), Store(home))
    return [row(outcome) for outcome in outcomes if outcome.status == "done"]


def row(outcome: Any) -> dict[str, Any]:
    """Perplexity, CPU seconds and memory of the stages that made a cell, bytes."""
    made = {s.name: s.manifest for s in outcome.stages if s.name in ("prune", "quantize")}
    scores = [score["metrics"][score["primary"]]["value"] for score in outcome.scores.values()]
    measured = outcome.measured or {}
    return {
        "label": outcome.cell["label"],
        "tcr": outcome.cell["tcr"],
        "perplexity": scores[0] if scores else float("nan"),
        "cpu_seconds": {name: m["cpu_seconds"] for name, m in made.items() if m},
        "peak": max((m["peak_rss_bytes"] for m in made.values() if m), default=0),
        "bytes": measured.get("bytes", {}).get("checkpoint", 0),
    }


def model_table(home: Path, name: str) -> None:
    """Prints the table of a sweep; exits with 1 if a figure is missed."""
    found = sorted(rows(home, name), key=lambda r: (r["tcr"], r["perplexity"]))
    print("| TCr | cell | perplexity | CPU s | peak memory, GB | checkpoint, MB |")
    print("|---:|---|---:|---:|---:|---:|")
    for r in found:
        seconds = " + ".join(f"{s:.0f}" for s in r["cpu_seconds"].values()) or "-"
        print(
            f"| {r['tcr']:.2%} | {r['label']} | {r['perplexity']:.2f} | {seconds} | "
            f"{r['peak'] / 1e9:.2f} | {r['bytes'] / 1e6:.0f} |"
        )
    sys.exit(0 if within(found) else 1)


def within(found: list[dict[str, Any]]) -> bool:
    """Whether the two figures are reached; not while cells that they need are missing."""
    named = {r["label"]: r for r in found}
    missing = {"25% + joint 4bit", "25% + 4bit", "50%"} - named.keys()
    if missing:
        print(f"\nmissing: {', '.join(sorted(missing))}")
        return False
    joint = sum(named["25% + joint 4bit"]["cpu_seconds"].values())
    apart = sum(named["25% + 4bit"]["cpu_seconds"].values())
    most = max(found, key=lambda r: r["peak"])
    ratio = most["peak"] / named["50%"]["peak"]
    print(
        f"\njoint {joint:.1f} CPU s, apart {apart:.1f}: {joint / apart:.2f} "
        f"(at most {JOINT_AT_MOST})"
    )
    print(f"most memory: {most['label']}, {ratio:.2f} of SparseGPT's (at most {MEMORY_AT_MOST})")
    return joint <= JOINT_AT_MOST * apart and ratio <= MEMORY_AT_MOST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["layer", "model"])
    parser.add_argument("--home", type=Path, default=os.environ.get("ISORATE_HOME", "outputs"))
    parser.add_argument("--name", default="methods", help="of the sweep")
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    if given.what == "layer":
        layer_table()
    else:
        model_table(Path(given.home), given.name)


if __name__ == "__main__":
    main()
