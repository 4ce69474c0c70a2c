"""A made-up sweep: a plan record, and a store that holds what a test puts into it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from sweeper.errors import DamagedOutput

Spec = Mapping[str, Any]
TASKS = ("capitals", "cloze", "perplexity")
METRICS = {"capitals": "acc", "cloze": "acc", "perplexity": "word_perplexity"}


class FakeStore:
    """The reading side of a store, by key."""

    def __init__(self) -> None:
        """Begin empty."""
        self.results: dict[str, Any] = {}
        self.manifests: dict[str, Any] = {}
        self.failures: dict[str, Any] = {}
        self.damaged: set[str] = set()
        self.reads = 0

    def output(self, spec: Spec) -> tuple[Any, Any] | None:
        """What was put there."""
        self.reads += 1
        key = spec["key"]
        if key in self.damaged:
            raise DamagedOutput("result.json has changed")
        return (self.results[key], self.manifests.get(key)) if key in self.results else None

    def failure(self, spec: Spec) -> Any | None:
        """What was put there."""
        return self.failures.get(spec["key"])


def spec(kind: str, params: Mapping[str, Any], **parents: Spec) -> dict[str, Any]:
    """A stage with a key of its own."""
    text = repr((kind, sorted(params.items()), [p["key"] for p in parents.values()]))
    key = hashlib.sha256(text.encode()).hexdigest()[:24]
    return {"kind": kind, "key": key, "params": dict(params), "parents": parents}


def cell(
    stages: dict[str, Spec],
    sparsity: float = 0.0,
    bits: int = 16,
    *,
    model: str = "tiny",
    pattern: str = "unstructured",
    mask: str = "none",
    seed: int = 0,
) -> dict[str, Any]:
    """A planned cell; its stages are added to ``stages``."""
    own: dict[str, Any] = {}
    parents: dict[str, Spec] = {}
    if sparsity:
        named = {"model": model, "sparsity": sparsity, "pattern": pattern, "seed": seed}
        pruned = spec("prune", named)
        own["prune"], parents = pruned["key"], {"model": pruned}
        stages[pruned["key"]] = pruned
    if bits < 16:
        named = {"model": model, "bits": bits, "mask": mask, "seed": seed}
        quantized = spec("quantize", named, **parents)
        own["quantize"], parents = quantized["key"], {"model": quantized}
        stages[quantized["key"]] = quantized
    leaves = {"measure": spec("measure", {"model": model}, **parents)}
    leaves |= {t: spec("evaluate", {"model": model, "task": t}, **parents) for t in TASKS}
    stages |= {s["key"]: s for s in leaves.values()}
    own["measure"] = leaves["measure"]["key"]
    own["evaluate"] = {t: leaves[t]["key"] for t in TASKS}
    prune = pattern if pattern != "unstructured" else f"{100 * sparsity:g}%"
    parts = [prune] * bool(sparsity) + [f"{bits}bit"] * (bits < 16)
    label = " + ".join(parts) or "dense"
    return {
        "key": "cell-" + own["measure"],
        "label": label + (" (mask ignored)" if mask == "ignore" else ""),
        "model": model,
        "config": _config(model, sparsity, pattern, bits, seed),
        "tcr": 1 - bits / 16 * (1 - sparsity),
        "sparsity": sparsity,
        "pattern": pattern,
        "bits": bits,
        "mask": mask,
        "scale_bits": 0.3125 if bits < 16 else None,
        "prune_method": "sparsegpt" if sparsity else "none",
        "quant_method": "gptq" if bits < 16 else "none",
        "calibration_seed": seed if own.keys() & {"prune", "quantize"} else None,
        "stages": own,
    }


def _config(model: str, sparsity: float, pattern: str, bits: int, seed: int) -> dict[str, Any]:
    prune = {"method": "sparsegpt", "sparsity": sparsity, "pattern": pattern, "dampening": 0.01}
    quantize = {"method": "gptq", "bits": bits, "group_size": 64, "symmetric": True}
    calibration = {"name": "topics", "path": None, "samples": 32, "length": 256, "seed": seed}
    return {
        "model": {"name": model, "id": f"/models/{model}"},
        "tasks": {"names": list(TASKS)},
        **({"prune": prune} if sparsity else {}),
        **({"quantize": quantize} if bits < 16 else {}),
        **({"calibration": calibration} if sparsity or bits < 16 else {}),
    }


GRID: tuple[dict[str, Any], ...] = (
    {},
    {"sparsity": 0.25},
    {"sparsity": 0.25, "pattern": "2:8"},
    {"bits": 4},
    {"bits": 3},
    {"sparsity": 0.25, "bits": 4, "mask": "keep"},
    {"sparsity": 0.25, "bits": 4, "mask": "keep", "pattern": "2:8"},
    {"sparsity": 0.25, "bits": 4, "mask": "ignore"},
)


def record(grid: tuple[dict[str, Any], ...] = GRID, name: str = "demo") -> dict[str, Any]:
    """The record of a plan with these cells."""
    stages: dict[str, Spec] = {}
    cells = [cell(stages, **point) for point in grid]
    return {
        "name": name,
        "created": "2026-01-01T00:00:00",
        "overrides": [],
        "cells": cells,
        "stages": stages,
    }


def fill(store: FakeStore, plan: Mapping[str, Any], cells: int | None = None) -> None:
    """Commit every stage of the first ``cells`` cells, with plausible numbers."""
    for planned in plan["cells"][:cells]:
        for key in _keys(planned):
            found = plan["stages"][key]
            store.results[key] = _result(found, planned)
            store.manifests[key] = _manifest(found)


def _keys(planned: Mapping[str, Any]) -> list[str]:
    stages = planned["stages"]
    return [*(k for name, k in stages.items() if name != "evaluate"), *stages["evaluate"].values()]


def _manifest(found: Spec) -> dict[str, Any]:
    number = int(found["key"][:4], 16)
    return {
        "kind": found["kind"],
        "key": found["key"],
        "started": "2026-01-01T10:00:00.000+00:00",
        "ended": "2026-01-01T10:01:00.000+00:00",
        "seconds": 20 + number % 40,
        "cpu_seconds": 19 + number % 40,
        "peak_rss_bytes": 10**9,
        "host": "node1",
        "device": "cpu",
        "versions": {"torch": "2.13.0", "llmcompressor": "0.14.0.1"},
        "files": {},
    }


def _result(found: Spec, planned: Mapping[str, Any]) -> dict[str, Any]:
    if found["kind"] == "measure":
        return _measured(planned)
    if found["kind"] != "evaluate":
        return {"seconds_per_layer": [1.0]}
    return _score(found["params"]["task"], float(planned["tcr"]))


def _measured(planned: Mapping[str, Any]) -> dict[str, Any]:
    sparsity, bits, ignored = planned["sparsity"], planned["bits"], planned["mask"] == "ignore"
    kept = 1 - sparsity * (0.1 if ignored else 1)
    found = {
        "achieved_sparsity": 1 - kept,
        "bits_per_weight": {"codes": bits * (1 - sparsity), "scales": 0.25, "total": bits + 0.25},
        "bytes": {"checkpoint": 10_000 * bits, "directory": 10_000 * bits + 500},
        "layers": 14,
        "linear_weights": 90_000,
        "total_weights": 100_000,
        "macs": round(90_000 * (1 - sparsity)),
        "rate": {"nominal": planned["tcr"], "achieved": 1 - bits / 16 * kept},
    }
    if sparsity:
        found["containment"] = {"min": 0.05 if ignored else 1.0, "mean": 0.1 if ignored else 1.0}
    if ":" in planned["pattern"] and sparsity:
        found["nm_valid"] = 1.0
    return found


def _score(task: str, rate: float) -> dict[str, Any]:
    metric, up = METRICS[task], task != "perplexity"
    value = 0.8 - 0.4 * rate if up else 30 * (1 + rate)
    entry = {"value": value, "stderr": value / 25, "n": 240, "higher_is_better": up}
    return {
        "task": task,
        "version": 1,
        "primary": metric,
        "metrics": {metric: entry},
        "chance": 0.25 if up else None,
        "collapsed": False,
        "device": "cpu",
    }
