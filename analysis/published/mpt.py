"""The published curves and tables of the Model Phase Transitions collection (MPT), as data."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Any

import pandas as pd

from analysis.output.table import Column, Table
from analysis.published.misprints import misprints
from analysis.published.reference import facts, sparsity
from analysis.statistics.perplexity_transition import Curve, curve

CURVES = ("1", "2", "3", "7", "8", "9", "10")
FEWEST = 6  # points of a curve that any broken form can be fitted to
CAPTIONS = {
    "1": "Structured pruning, WikiText2 perplexity",
    "2": "Unstructured and semi-structured pruning, WikiText2 perplexity",
    "3": "The same, calibrated on PTB",
    "4": "Quantization methods, WikiText2 perplexity",
    "5": "GGUF quantization across models",
    "6": "GGUF quantization of LLaMA-2 and Gemma-3",
    "7": "Low-rank decomposition, perplexity",
    "8": "ASVD and RTN together, perplexity",
    "9": "SparseGPT and GPTQ together, WikiText2 perplexity",
    "10": "Wanda and GGUF together, WikiText2 perplexity",
}
# The transitions as the collection states them, per kind of compression, in sparsity.
STATED = {"structured": (0.30, 0.45), "unstructured": (0.55, 0.65)}
STATED_OF = {"ASVD": 0.17, "SVD-LLM": 0.30}

Fact = Mapping[Hashable, Any]


@lru_cache(maxsize=1)
def curves() -> tuple[tuple[str, str, Curve], ...]:
    """(table, kind of compression, curve) of tables 1, 2, 3, 7, 8, 9 and 10.

    Tables 2, 4 and 10 stem from different evaluations, so no curve mixes tables. A method
    with fewer points than a fit needs is left out, as are N:M patterns, which share a
    sparsity.
    """
    found = []
    for table in CURVES:
        printed = facts("mpt", table)
        printed = printed[(printed["metric"] == "ppl") & printed["value"].notna()]
        printed = printed[~printed["pattern"].str.contains(":") & (printed["sparsity_pct"] > 0)]
        by = ["method_prune", "method_quant", "bits", "task"]
        for (prune, quant, bits, task), rows in printed.groupby(by, sort=False):
            if len(rows) >= FEWEST:
                name = _curve_name(table, str(prune), str(quant), bits, str(task))
                s = [sparsity(p) for p in rows["sparsity_pct"]]
                found.append((table, str(rows["pattern"].iat[0]), curve(name, s, rows["value"])))
    return tuple(found)


def _curve_name(table: str, prune: str, quant: str, bits: Any, task: str) -> str:
    method = prune + ("" if bits == 16 else f" + {quant or 'GPTQ'} {bits:g}bit")
    return method + {"3": " (PTB calibration)"}.get(table, "") + (", PTB" if task == "PTB" else "")


def published_table(table: str) -> Table:
    """One of the ten tables as it was printed, laid out again from its facts."""
    printed = facts("mpt", table)
    columns: dict[str, str] = {}
    rows: dict[tuple[str, str], dict[str, object]] = {}
    for fact in printed.to_dict("records"):
        head, key = _head(table, fact), _row(table, fact)
        columns.setdefault(head, head)
        row = rows.setdefault(key, {"model": key[0], "row": key[1]})
        row[head] = _cell(fact)
    heads = [Column(key="model", title="Model"), Column(key="row", title="Row")]
    frame = pd.DataFrame(list(rows.values()))
    if frame["model"].nunique() == 1:
        heads = heads[1:]
    doubtful = [str(m) for m in misprints(table)]
    return Table(
        name=f"mpt_table_{table}",
        caption=f"MPT table {table}: {CAPTIONS[table]}",
        columns=(*heads, *(Column(key=c, title=c) for c in columns)),
        rows=frame,
        notes=tuple(doubtful),
    )


def _row(table: str, fact: Fact) -> tuple[str, str]:
    if table in ("8", "9", "10"):
        return fact["model"], f"{fact['sparsity_pct']:g}%"
    return fact["model"], fact["row_label"]


def _head(table: str, fact: Fact) -> str:
    bits, task = fact["bits"], fact["task"]
    quantized = "FP16" if bits == 16 else f"{fact['method_quant']} {bits:g}bit".strip()
    if table in ("1", "2", "3", "7"):
        return fact["pattern"] if ":" in fact["pattern"] else f"{fact['sparsity_pct']:g}%"
    if table in ("4", "5"):
        return f"{bits:g} bit"
    if table == "6":
        return "Size, GB" if fact["metric"] == "size" else "Perplexity"
    return f"{quantized}, {task}" if table == "8" else quantized


def _cell(fact: Fact) -> str:
    """As printed: the text of the cell carries its digits, its error and its budget."""
    return str(fact["value_text"] or "–")
