"""What the kernels of a processor do to the demo's scores, and what `reproducible=true` leaves.

    python benchmarks/machines.py [--home DIR] [--workers N] [SETTING ...]

Each setting is an environment in which libraries take other kernels than the best of this
processor, as they would on another one. In each, three cells of the demo (dense, 25% + 4bit,
3bit) are made and scored anew, in a home of its own below DIR that keeps what is done: run again,
it goes on. Prints Sr2, perplexity and CPU seconds, then how far any two settings are apart and
whether they made the same bytes. One processor is no other: what another one does beyond
instruction sets (AMX where this has none, say) is not seen here.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import pandas as pd

CELLS = "[{},{prune.sparsity:25,quant.bits:4},{quant.bits:3}]"
PERPLEXITY = "task:demo_pydoc"
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
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=", ".join(SETTINGS))
    options = parser.parse_args()
    names = options.settings or list(SETTINGS)
    if unknown := [name for name in names if name not in SETTINGS]:
        parser.error(f"unknown: {', '.join(unknown)}; valid: {', '.join(SETTINGS)}")
    found = {name: carried_out(name, options.home, options.workers) for name in names}
    rows = pd.concat(found, names=["setting"]).reset_index("setting")
    print(rows.to_markdown(index=False, floatfmt=".4g"))
    for group in dict.fromkeys(SETTINGS[name].group for name in names):
        for line in distances(group, [n for n in names if SETTINGS[n].group == group], found):
            print(line)


def carried_out(name: str, base: Path, workers: int) -> pd.DataFrame:
    """One row a cell: its scores in a setting, its CPU seconds and the hash of its checkpoint."""
    setting, home = SETTINGS[name], base.absolute() / name
    model = next(base.absolute().glob("*/store/convert/*/checkpoint"), None)
    if model is not None and not (home / "store").exists():
        shutil.copytree(model.parents[1], home / "store" / "convert")  # no kernel has a part in it
    command = [
        *(sys.executable, "-m", "sweeper", "run", "model=smollm2-135m", "name=machines"),
        *(f"cells={CELLS}", f"home={home}", "tracking.enabled=false"),
        "checkpoints=keep",
        *(f"hydra.launcher.workers={workers}", *setting.arguments),
    ]
    subprocess.run(command, check=True, env=os.environ | setting.environment, stdout=sys.stderr)
    tables = home / "sweeps" / "machines" / "report" / "tables"
    cells, scores = (pd.read_csv(tables / f"{table}.csv") for table in ("cells", "scores"))
    spent, checkpoint = _of_stages(home)
    return pd.DataFrame(
        {
            "cell": cells["label"],
            "Sr2": cells["sr2"],
            "± documents": cells["sr2_stderr"],
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
        ratio = max(
            max(one["perplexity"], two["perplexity"]) / min(one["perplexity"], two["perplexity"])
            for one, two in pairs
        )
        same = len({found[name].iloc[row]["bytes"] for name in names}) == 1
        yield (
            f"  {label}: Sr2 at most {apart:.4f} apart, perplexity by a factor of {ratio:.4f}, "
            f"{'the same bytes' if same else 'other bytes'}"
        )


if __name__ == "__main__":
    main()
