"""What refinement costs and what it gains, each side by side with what it starts from.

    python benchmarks/refine.py layer      three sweeps against GPTQ's solve, median of five
    isorate run name=refine prune.sparsity=0,25 quant.bits=16,4 quant.refine=0,3
    python benchmarks/refine.py model      perplexity, paired over documents; cost
    python benchmarks/refine.py memory     of a layer, against SparseGPT's
    python benchmarks/refine.py matrix     the refit of the matrix that a massive token drives

The first needs no model: its layers have the shapes of SmolLM2-135M, and correlated inputs.
The model's reads that sweep of this home, the last its converted model (checkpoints=keep).
Exits with 1 where a figure that is asked for was measured and missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

SHAPES = ((960, 576), (576, 576), (3072, 576), (576, 1536))
"""Matrices of a decoder layer, those that read the same inputs as one."""
ROUNDS = 5
WIDE = (1024, 3072)
SWEEPS_AT_MOST, MEMORY_AT_MOST, REFIT_AT_MOST = 2.2, 1.5, 1e-3
RATIO_AT_MOST, UPPER_AT_MOST = 0.75, 0.8
TASK, METRIC = "demo_pydoc", "word_perplexity"


def timed(run: Callable[[], object]) -> float:
    """CPU seconds."""
    started = time.process_time()
    run()
    return time.process_time() - started


def layer_costs() -> bool:
    """Three sweeps against the solve of a decoder layer's matrices, taken in turn."""
    import torch

    torch.set_num_threads(1)
    print("| rows x columns | GPTQ, CPU s | three sweeps | with scales | with swaps |")
    print("|---|---:|---:|---:|---:|")
    cases = [_case(*shape) for shape in SHAPES]
    rounds = [[[timed(run) for run in case] for case in cases] for _ in range(ROUNDS)]
    for shape, found in zip(SHAPES, np.median(np.array(rounds), axis=0), strict=True):
        print(f"| {shape[0]} x {shape[1]} | " + " | ".join(f"{s:.3f}" for s in found) + " |")
    whole = np.array(rounds).sum(axis=1)
    ratios = [median(whole[:, i] / whole[:, 0]) for i in (1, 2, 3)]
    named = zip(("three sweeps", "with scales", "with swaps"), ratios, strict=True)
    shown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in named)
    print(f"\nof GPTQ's solve, a decoder layer, median of {ROUNDS}: {shown}")
    print(f"three sweeps: at most {SWEEPS_AT_MOST}; load {os.getloadavg()[0]:.1f}")
    return ratios[0] <= SWEEPS_AT_MOST


def _case(rows: int, columns: int) -> list[Callable[[], object]]:
    """[GPTQ's solve, three sweeps, with scales, with swaps] of one layer at 25 % + 4 bit."""
    import torch

    from sweeper.methods.quantization.gptq_modifier import block_routine
    from sweeper.methods.quantization.rtn_modifier import Grid
    from sweeper.methods.refinement.refine import Quantized, Refinement, refined
    from tests.sweeper.methods.layers import layer
    from tests.sweeper.methods.test_gptq import arguments, grid, quantize

    weight, inputs = layer(rows, columns, tokens=2)
    hessian, args = 2 * inputs.t() @ inputs / len(inputs), arguments(group_size=64)
    pruned = torch.rand(rows, columns, generator=torch.Generator().manual_seed(0)) < 0.25
    target = weight.masked_fill(pruned, 0)
    scale, zero = grid(target, args)

    def solve() -> torch.Tensor:
        with block_routine((target != 0).unsqueeze(0)):
            return quantize(target, hessian, args)

    points = Grid(scale=scale, zero=zero, args=args)
    begin = Quantized(weight=solve(), grid=points, kept=~pruned)

    def refine(**how: Any) -> Callable[[], object]:
        chosen = Refinement(sweeps=3, **how)
        return lambda: refined(begin, target, hessian.clone(), 0.01, chosen, torch.bfloat16)

    return [solve, refine(), refine(rescale=True), refine(swaps=True)]


def model_gains(home: Path, name: str) -> bool:
    """Pairs of cells that differ by refinement alone, and the pairs that the question is about."""
    from sweeper.planning.sweep import Sweep
    from sweeper.results import tables
    from sweeper.results.outcomes import collect
    from sweeper.store.store import Store

    outcomes = [o for o in collect(Sweep(home, name).load(), Store(home)) if TASK in dict(o.scores)]
    results, by_label = tables.results(outcomes), {str(o.cell["label"]): o for o in outcomes}
    for label, outcome in by_label.items():
        value = outcome.scores[TASK]["metrics"][METRIC]["value"]
        seconds, peak = _cost(outcome, "quantize")
        print(f"{label:45s} {value:9.2f}  quantize {seconds:5.0f} CPU s, {peak / 1e9:.2f} GB")
    fine = True
    for over, under in _pairs(list(by_label)):
        cells = [by_label[label].key for label in (over, under)]
        scored = [results.documents.scored(cell, TASK, METRIC) for cell in cells]
        if scored[0] is None or scored[1] is None or scored[0].identity != scored[1].identity:
            print(f"{over} / {under}: not the same documents")
            continue
        ratio, low, high = paired(scored[0].numerator, scored[1].numerator, scored[0].weight)
        count = len(scored[0].weight)
        print(f"{over} / {under}: x {ratio:.3f} [{low:.3f}, {high:.3f}], {count} documents")
        if (over, under) == ("25% + 4bit, refined", "25% + 4bit"):
            fine &= ratio <= RATIO_AT_MOST and high < UPPER_AT_MOST
    return fine


def _pairs(labels: list[str]) -> Iterator[tuple[str, str]]:
    for label in labels:
        plain = label.partition(", refined")[0]
        if plain != label and plain in labels:
            yield label, plain
    asked = [("25% + 4bit, refined", "4bit, refined"), ("25% + 4bit, refined", "3bit, refined")]
    yield from (pair for pair in asked if set(pair) <= set(labels))


def paired(over: Any, under: Any, words: Any) -> tuple[float, float, float]:
    """Ratio of two perplexities on the same documents, and its 95 % interval over these.

    Args:
        over: log-likelihood of each document.
        under: the same under what it is divided by.
        words: of each document.
    """
    from scipy import stats

    total = words.sum()
    log = float((under - over).sum() / total)
    influence = (under - over - log * words) / words.mean()
    half = stats.t.ppf(0.975, len(words) - 1) * stats.sem(influence)
    return float(np.exp(log)), float(np.exp(log - half)), float(np.exp(log + half))


def _cost(outcome: Any, kind: str) -> tuple[float, float]:
    """CPU seconds and the peak memory of the worker, bytes, of a stage of a cell."""
    facts = next((s.facts for s in outcome.stages if s.kind == kind), {})
    return float(facts.get("cpu_seconds", 0)), float(facts.get("peak_rss_bytes", 0))


def layer_memory() -> bool:
    """Peak memory of treating one wide layer, each in a process of its own, beyond its inputs."""
    found = {}
    for way in ("sparsegpt", "gptq", "refined", "with scales", "with swaps"):
        command = [sys.executable, __file__, "peak", "--way", way]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[way] = float(done.stdout.split()[-1])
        print(f"{way:12s} {found[way] / 1e6:6.0f} MB, {found[way] / found['sparsegpt']:.2f} times")
    return found["refined"] <= MEMORY_AT_MOST * found["sparsegpt"]


def peak(way: str) -> float:
    """Bytes that the resident set grew by at its peak."""
    import torch

    from sweeper.methods.hessian import inverse_factor
    from sweeper.methods.pruning.sparsegpt_modifier import sparsify

    torch.set_num_threads(1)
    solve, *ways = _case(WIDE[0], WIDE[1])  # and all that is imported, compiled and cached
    weight = torch.randn(WIDE, generator=torch.Generator().manual_seed(1))
    hessian = torch.eye(WIDE[1])
    status = Path("/proc/self/clear_refs")
    status.write_text("5")  # the peak so far is forgotten
    before = _high_water()
    if way == "sparsegpt":
        factor, _ = inverse_factor(hessian.clone(), 0.01)
        rows = [WIDE[0]]
        sparsify(weight.clone(), factor, sparsity=0.25, nm=None, block_size=128, matrices=rows)
    elif way == "gptq":
        solve()
    else:
        held = hessian.clone(), weight.clone()  # what the solve overwrites is kept meanwhile
        solve()
        del held
        ways[("refined", "with scales", "with swaps").index(way)]()
    return _high_water() - before


def _high_water() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(float(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def matrix_refit(home: Path, layer: int) -> bool:
    """Wanda's mask on one real ``down_proj``: 20 steps against a factorization of each row."""
    import torch

    from sweeper.methods.hessian import dampen, first_direction
    from sweeper.methods.pruning.score_modifier import least_of_rows
    from sweeper.methods.refinement.refit import refit

    torch.set_num_threads(1)
    weight, hessian = _real(home, layer)
    share = first_direction(hessian)[0] / float(hessian.diagonal().sum())
    diagonal = hessian.diagonal()
    added = 0.01 * float(diagonal.mean() / diagonal.median())
    kept = ~least_of_rows(weight.abs() * hessian.diagonal().sqrt(), 0.25)
    dampen(hessian, 0.01)
    begun = weight * kept
    rows = torch.arange(0, len(weight), 8)  # of each eighth row: a factorization takes its time

    def loss(found: Any) -> float:
        lost = (found - weight)[rows].double()
        return float(((lost @ hessian.double()) * lost).sum())

    exact = torch.zeros_like(weight)
    for row in rows.tolist():
        on = kept[row]
        of_kept = hessian[on][:, on].double()
        right = (hessian @ weight[row])[on].double()
        exact[row, on] = torch.linalg.solve(of_kept, right).float()
    least = loss(exact)
    print(f"layers.{layer}.mlp.down_proj: {share:.1%} of its inputs' energy in one direction")
    print(f"a dampening of 1 % of the mean diagonal is {added:.2f} of the median one")
    for steps in (0, 5, 10, 20):
        found = loss(refit(begun, weight, kept, hessian, steps))
        print(f"{steps:3d} steps: {found / least - 1:.2e} above exact least squares")
    return found / least - 1 <= REFIT_AT_MOST


def _real(home: Path, layer: int) -> tuple[Any, Any]:
    """(the weight, the Hessian of 32 x 256 calibration tokens), float32, of the dense model."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import sweeper.data
    from sweeper.methods.hessian import Hessians

    (folder,) = {p.parent for p in (home / "store" / "convert").glob("*/checkpoint/config.json")}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = next(Path(sweeper.data.__file__).parent.rglob("pydoc*.txt")).read_text()
    ids = torch.tensor(tokenizer(text)["input_ids"][: 32 * 256]).reshape(32, 256)
    matrix, sums = model.model.layers[layer].mlp.down_proj, Hessians()
    del model.model.layers[layer + 1 :]
    matrix.register_forward_pre_hook(lambda module, args: sums.add(module, args[0]))
    with torch.no_grad():
        for batch in ids.split(4):
            model.model(batch, use_cache=False)
    ((_, gram),) = sums.take()
    return matrix.weight.detach(), gram.matrix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["layer", "memory", "peak", "model", "matrix"])
    parser.add_argument("--way", default="refined", help="of `peak`, which `memory` calls")
    parser.add_argument("--home", type=Path, default=os.environ.get("ISORATE_HOME", "outputs"))
    parser.add_argument("--name", default="refine", help="of the sweep")
    parser.add_argument("--layer", type=int, default=28)
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    if given.what == "layer":
        fine = layer_costs()
    elif given.what == "memory":
        fine = layer_memory()
    elif given.what == "peak":
        print(peak(given.way))
        return
    elif given.what == "model":
        fine = model_gains(Path(given.home), given.name)
    else:
        fine = matrix_refit(Path(given.home), given.layer)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
