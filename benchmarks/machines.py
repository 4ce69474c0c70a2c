"""What the kernels of a processor do to the demo's scores, and what `reproducible=true` leaves.

    python benchmarks/machines.py [--home DIR] [--workers N] [--layers L] [SETTING ...]

Each setting is an environment in which libraries take other kernels than the best of this
processor, as they would on another one. In each, three cells of the demo (dense, 25% + 4bit,
3bit) are made and scored anew, in a home of its own below DIR that keeps what is done: run again,
it goes on. With --layers the model is its first L decoder layers and 20 documents of the
perplexity task are scored, all settings at the same time: minutes instead of hours, and no
language model any more, so bytes and perplexities can be compared and retention means nothing.
Prints scores and CPU seconds, then how far any two settings are apart and whether they made the
same bytes. One processor is no other: what another one does beyond instruction sets (AMX where
this has none, say) is not seen here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from math import isnan, nan
from pathlib import Path

import pandas as pd

CELLS = "[{},{prune.sparsity:25,quant.bits:4},{quant.bits:3}]"
PERPLEXITY = "task:demo_pydoc"
RETENTION = {"Sr2": "sr2", "± documents": "sr2_stderr"}
# Dispatch by the processor in what the three libraries of the key do not cover.
OTHER_LIBRARIES = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-FMA",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}


@dataclass(frozen=True)
class Setting:
    """An environment and the arguments of the run; those of one group are compared."""

    group: str
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


SHORT = ("model.name=first-layers", "tasks.names=[demo_pydoc]", "tasks.limit=20")
FLOAT32 = ("model.compute_dtype=float32", "tasks.dtype=float32")
KEY = ("reproducible=true",)
SETTINGS = {
    "best": Setting("as it is"),
    "onednn-avx512": Setting("as it is", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}),
    "onednn-avx2": Setting("as it is", {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "aten-avx2": Setting("as it is", {"ATEN_CPU_CAPABILITY": "avx2"}),
    "mkl-compatible": Setting("as it is", {"MKL_CBWR": "COMPATIBLE"}),
    "float32": Setting("float32 alone", {}, FLOAT32),
    "float32-avx2": Setting(
        "float32 alone",
        {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE"},
        FLOAT32,
    ),
    "key": Setting("reproducible=true", {}, KEY),
    "key-others": Setting("reproducible=true", OTHER_LIBRARIES, KEY),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path("outputs/machines"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--layers", type=int, help="of the model; default: all")
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=", ".join(SETTINGS))
    options = parser.parse_args()
    names = options.settings or list(SETTINGS)
    if unknown := [name for name in names if name not in SETTINGS]:
        parser.error(f"unknown: {', '.join(unknown)}; valid: {', '.join(SETTINGS)}")
    base = options.home.absolute()
    more = SHORT if options.layers else ()
    if options.layers:
        model = shortened(base, options.layers)
        more = (*SHORT, "model=custom", f"model.id={model}", "model.group_size=64")
    run = partial(carried_out, base=base, workers=options.workers, more=more)
    with ThreadPoolExecutor(len(names) if options.layers else 1) as pool:
        found = dict(zip(names, pool.map(run, names), strict=True))
    rows = pd.concat(found, names=["setting"]).reset_index("setting")
    print(rows.to_markdown(index=False, floatfmt=".4g"))
    for group in dict.fromkeys(SETTINGS[name].group for name in names):
        for line in distances(group, [n for n in names if SETTINGS[n].group == group], found):
            print(line)


def shortened(base: Path, layers: int) -> Path:
    """The first layers of the demo's model, as a checkpoint below ``base``; made by `isorate`."""
    out = base / f"first-{layers}-layers"
    if not out.exists():
        from transformers import AutoModelForCausalLM, AutoTokenizer

        whole = base / "whole"
        words = ("model=smollm2-135m", f"home={base / 'convert'}", f"to={whole}", "cell=dense")
        if not whole.exists():
            isorate("run", *words[:2], "name=whole", "cells=[{}]", "tasks=none")
            isorate("export", *words[1:], "name=whole")
        model = AutoModelForCausalLM.from_pretrained(whole, dtype="bfloat16")
        model.model.layers = model.model.layers[:layers]
        model.config.num_hidden_layers = layers
        if getattr(model.config, "layer_types", None):
            model.config.layer_types = model.config.layer_types[:layers]
        model.save_pretrained(out)
        AutoTokenizer.from_pretrained(whole).save_pretrained(out)
    return out


def isorate(verb: str, *words: str, env: Mapping[str, str] | None = None) -> None:
    command = [sys.executable, "-m", "sweeper", verb, *words, "tracking.enabled=false"]
    subprocess.run(command, check=True, env=os.environ | (env or {}), stdout=sys.stderr)


def carried_out(name: str, *, base: Path, workers: int, more: Sequence[str]) -> pd.DataFrame:
    """One row a cell: its scores in a setting, its CPU seconds and the hash of its checkpoint."""
    setting, home = SETTINGS[name], base / name
    words = [f"cells={CELLS}", f"home={home}", "name=machines", "checkpoints=keep"]
    words += [*(more or ("model=smollm2-135m",)), f"hydra.launcher.workers={workers}"]
    isorate("run", *words, *setting.arguments, env=setting.environment)
    tables = home / "sweeps" / "machines" / "report" / "tables"
    cells, scores = (pd.read_csv(tables / f"{table}.csv") for table in ("cells", "scores"))
    spent, checkpoint = _of_stages(home)
    return pd.DataFrame(
        {
            "cell": cells["label"],
            **{title: cells.get(key, nan) for title, key in RETENTION.items()},
            "perplexity": scores[PERPLEXITY],
            "CPU s": [sum(spent.values())] + [None] * (len(cells) - 1),
            "bytes": [checkpoint.get(label, "") for label in cells["label"]],
        }
    )


def _of_stages(home: Path) -> tuple[dict[str, float], dict[str, str]]:
    """CPU seconds by stage, without the conversion; and label -> hash of the weights."""
    spent, weights = {}, {}
    for path in home.glob("store/*/*/manifest.json"):
        manifest = json.loads(path.read_text())
        if manifest["kind"] == "convert":
            continue
        spent[manifest["key"]] = manifest["cpu_seconds"]
        for name, entry in manifest["files"].items():
            if manifest["kind"] == "quantize" and name.endswith(".safetensors"):
                weights[manifest["label"]] = entry["sha256"][:12]
    return spent, weights


def distances(group: str, names: list[str], found: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """The largest distance of any two settings, cell by cell."""
    if len(names) < 2:
        return
    yield f"\n{group}: {', '.join(names)}"
    for row, label in enumerate(found[names[0]]["cell"]):
        pairs = list(combinations([found[name].iloc[row] for name in names], 2))
        apart = max(abs(one["Sr2"] - two["Sr2"]) for one, two in pairs)
        retention = "" if isnan(apart) else f"Sr2 at most {apart:.4f} apart, "
        ratio = max(
            max(one["perplexity"], two["perplexity"]) / min(one["perplexity"], two["perplexity"])
            for one, two in pairs
        )
        same = len({found[name].iloc[row]["bytes"] for name in names}) == 1
        yield (
            f"  {label}: {retention}perplexity by a factor of {ratio:.6f}, "
            f"{'the same bytes' if same else 'other bytes'}"
        )


if __name__ == "__main__":
    main()
