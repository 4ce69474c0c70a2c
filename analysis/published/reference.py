"""The published numbers that the project is held against, as tables and as `Results`.

Sources and columns: `analysis/reference/README.md`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.data.results import BadResults, Results

FOLDER = Path(__file__).with_name("reference")
TABLES = {
    "laborde2025": ("I", "II", "III", "IV", "V", "VI", "VII"),
    "mpt": tuple(str(n) for n in range(1, 11)),
    "jsq2024": ("1", "2", "3", "4", "5", "6", "8", "9"),
}
_NUMBERS = ("sparsity_pct", "bits", "value", "std", "budget_pct")

PUBLISHED = "published"
# Size of each benchmark as lm-eval counts it (mmlu_pro, bbh_cot_fewshot, minerva_math).
DOCUMENTS = {"MMLU-Pro": 12032, "BBH": 6511, "MATH": 5000}
# Weights of the linear layers (what is compressed) and of the whole model, from the shapes.
WEIGHTS = {
    "LLaMA-3.1-8B": (6_979_321_856, 8_030_261_248),
    "Mistral-7B-v0.3": (6_979_321_856, 7_248_023_552),
}
METHODS = {"": "", "SparseGPT": "sparsegpt", "GPTQ": "gptq", "NF4": "nf4", "LLM.int8()": "llm_int8"}
_NAMES = {"nf4": "NF4", "llm_int8": "LLM.int8"}


@lru_cache(maxsize=32)
def facts(source: str, table: str) -> pd.DataFrame:
    """One published table, a fact per row in printed order; a shared value, not to be changed.

    Args:
        source: "laborde2025", "mpt" or "jsq2024".
        table: its number as printed.

    Raises:
        BadResults: there is no such table.
    """
    if table not in TABLES.get(source, ()):
        known = "; ".join(f"{name}: {', '.join(of)}" for name, of in TABLES.items())
        raise BadResults(f"no table {table!r} of {source!r}; valid: {known}")
    frame = pd.read_csv(FOLDER / f"{source}_table_{table}.csv", dtype=str, keep_default_na=False)
    for column in _NUMBERS:
        frame[column] = pd.to_numeric(frame[column], errors="coerce")
    return frame


def settings() -> pd.DataFrame:
    """Numeric settings and headline figures of the three sources; values as printed."""
    return pd.read_csv(FOLDER / "settings.csv", dtype=str, keep_default_na=False)


def sparsity(percent: float) -> float:
    """The fraction that a printed percentage means: 33.333 is a third, not its rounding."""
    third = round(3 * percent / 100)
    return third / 3 if abs(percent - 100 * third / 3) < 5e-4 else percent / 100


def label(p: float, pattern: str, method: str, bits: float) -> str:
    """The project's name of a cell: "25% + 4bit", "2:8", "25% + NF4", "dense"."""
    pruned = pattern if ":" in pattern else f"{round(100 * p, 3):g}%"
    parts = ([pruned] if p else []) + ([_NAMES.get(method, f"{bits:g}bit")] if bits < 16 else [])
    return " + ".join(parts) or "dense"


@lru_cache(maxsize=1)
def laborde2025() -> Results:
    """Tables II-VII of arXiv:2505.07289: each configuration of both models once.

    Scores are fractions of 1 with the printed standard error (0.1 points fine). One that
    is printed as 0.0 is below 0.05 points: the binomial one stands in for it. Joint cells
    quantize pruned weights too (the paper's Case A), so their mask is "ignore".
    """
    printed = pd.concat([facts("laborde2025", t) for t in TABLES["laborde2025"][1:]])
    cells, scores = {}, {}
    for row in printed[printed["task"].isin(DOCUMENTS)].to_dict("records"):
        cell = _cell(row)
        cells[cell["cell"]] = cell
        scores[cell["cell"], row["task"]] = _score(str(cell["cell"]), row)
    return Results(cells=pd.DataFrame(cells.values()), scores=pd.DataFrame(scores.values()))


def _cell(row: Mapping[Hashable, Any]) -> dict[str, object]:
    p, bits = sparsity(row["sparsity_pct"]), row["bits"]
    pattern = str(row["pattern"]) if p else ""
    method = METHODS[str(row["method_quant"])]
    name, model = label(p, pattern, method, bits), str(row["model"])
    linear, total = WEIGHTS[model]
    return {
        "cell": f"laborde2025/{model}/{name}",
        "label": name,
        "model": model,
        "prune_method": METHODS[str(row["method_prune"])],
        "sparsity": p,
        "pattern": pattern,
        "quant_method": method,
        "bits": bits,
        "mask": "ignore" if p and bits < 16 else "none",
        "calibration_seed": None,
        "status": "done",
        "reason": "",
        "linear_weights": linear,
        "total_weights": total,
        "group_size": 128 if method == "gptq" else None,
    }


def _score(cell: str, row: Mapping[Hashable, Any]) -> dict[str, object]:
    task, n = str(row["task"]), DOCUMENTS[str(row["task"])]
    value, std = row["value"] / 100, row["std"] / 100
    return {
        "cell": cell,
        "task": task,
        "metric": "score",
        "value": value,
        "stderr": std or (value * (1 - value) / n) ** 0.5,
        "n": n,
        "higher_is_better": True,
        "chance": None,
        "primary": True,
        "version": PUBLISHED,
        "collapsed": False,
    }
