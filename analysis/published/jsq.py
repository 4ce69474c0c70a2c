"""The accounting of JSQ (Guo et al., ICML 2024): operations and sizes, and what they reproduce.

JSQ states sizes and multiply-accumulates (MACs) but neither sparsity nor bits. Its numbers
for LLaMA-7B follow from shapes: at n tokens a linear layer costs n MACs a weight, scaled by
(1 - s) for zeros and by (b/16)^2 because weights and activations have b bits; head and
attention stay as they are. Sizes scale the whole model by (1 - s) b/16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from analysis.metrics import DENSE_BITS
from analysis.output.table import Column, Table, several
from analysis.published.reference import facts

TOKENS = 2048
TERA, GIB = 1e12, 2**30
# How far a printed number may lie off: half of its last digit and as much, scaled, for the
# dense one's; the printed MACs need 0.009 T more than the shapes give (1.377 for 1.368).
SIZE_SLACK, MACS_SLACK = 0.05, 0.0151
TABLES = ("1", "9")
TASKS = 7


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shapes of a decoder.

    Attributes:
        layers: of the decoder.
        width: of the hidden state.
        inner: of the feed-forward part, which has three matrices.
        keys: width of all keys of a token (less than `width` with grouped queries).
        vocabulary: tokens.
    """

    layers: int
    width: int
    inner: int
    keys: int
    vocabulary: int

    @property
    def linear(self) -> int:
        """Weights of the decoder's linear layers, which are what is compressed."""
        attention = 2 * self.width**2 + 2 * self.width * self.keys
        return self.layers * (attention + 3 * self.width * self.inner)

    @property
    def total(self) -> int:
        """All weights but the norms: linear layers, embeddings and head."""
        return self.linear + 2 * self.vocabulary * self.width


SHAPES = {
    "LLaMA-7B": Shape(layers=32, width=4096, inner=11008, keys=4096, vocabulary=32000),
    "LLaMA2-7B": Shape(layers=32, width=4096, inner=11008, keys=4096, vocabulary=32000),
    "LLaMA-13B": Shape(layers=40, width=5120, inner=13824, keys=5120, vocabulary=32000),
    "LLaMA2-13B": Shape(layers=40, width=5120, inner=13824, keys=5120, vocabulary=32000),
    "LLaMA-33B": Shape(layers=60, width=6656, inner=17920, keys=6656, vocabulary=32000),
    "ChatGLM3-6B": Shape(layers=28, width=4096, inner=13696, keys=256, vocabulary=65024),
}


def macs(shape: Shape, *, sparsity: float = 0.0, bits: float = 16, tokens: int = TOKENS) -> float:
    """Multiply-accumulates of one pass over `tokens` tokens, as JSQ counts them.

    linear n (1 - s) (b/16)^2 + head n + attention 2 L n^2 d: the head and the products of
    attention (scores and values, no causal saving) are not compressed.
    """
    return (
        shape.linear * tokens * (1 - sparsity) * (bits / DENSE_BITS) ** 2
        + shape.vocabulary * shape.width * tokens
        + 2 * shape.layers * tokens**2 * shape.width
    )


def size(shape: Shape, *, sparsity: float = 0.0, bits: float = 16) -> float:
    """Bytes as JSQ counts them: every weight, embeddings too, at (1 - s) b/16 of 2 bytes.

    No mask, no scales: what no file on a disk has.
    """
    return 2 * shape.total * (1 - sparsity) * bits / DENSE_BITS


@dataclass(frozen=True, kw_only=True)
class Row:
    """One printed row with what its numbers imply.

    Attributes:
        table: of JSQ.
        model: as printed.
        method: as printed.
        kind: "dense", "pruning", "quantization" or "joint".
        macs: printed, in units of 10^12.
        size: printed, in GiB ("G").
        sparsity: implied by the printed numbers, see `rows`.
        bits: implied by them; whole.
        computed_macs: by `macs` at these, in units of 10^12.
        computed_size: by `size` at these, in GiB.
        retention: mean of the seven accuracies over the dense one's; nan without them.
        mean_retention: mean of the seven retentions (Sr1).
        ppl_ratio: dense perplexity over the row's.
    """

    table: str
    model: str
    method: str
    kind: str
    macs: float
    size: float
    sparsity: float
    bits: float
    computed_macs: float
    computed_size: float
    retention: float
    mean_retention: float
    ppl_ratio: float

    @property
    def reproduced(self) -> str:
        """Which printed numbers follow: "both", "size only", "MACs only" or "neither"."""
        left = (1 - self.sparsity) * self.bits / DENSE_BITS
        good_size = abs(self.computed_size - self.size) <= SIZE_SLACK * (1 + left) + 1e-9
        good_macs = abs(self.computed_macs - self.macs) <= MACS_SLACK
        names = {(True, True): "both", (True, False): "size only", (False, True): "MACs only"}
        return names.get((good_size, good_macs), "neither")


@lru_cache(maxsize=len(TABLES))
def rows(table: str) -> tuple[Row, ...]:
    """The rows of table 1 or 9, each with its implied sparsity and bits.

    Whole bits and a sparsity are sought that give both printed numbers; pruning only has 16
    bit, quantization only no zeros. Where none do, the settings of the first row with the
    same method that was reproduced are tried: the paper compresses all models alike. Where
    those do not do better either, the printed MACs are met and the size is off.
    """
    found: list[Row] = []
    dense: dict[str, Mapping[str, Any]] = {}
    for row in _printed(table):
        if row["kind"] == "dense":
            dense[row["model"]] = row
        one = _nearest(table, row, dense[row["model"]])
        like = next((r for r in found if r.method == one.method and r.reproduced == "both"), None)
        if one.reproduced != "both" and like is not None:
            again = _row(table, row, dense[row["model"]], like.sparsity, like.bits)
            one = again if again.reproduced != "neither" else one
        found.append(one)
    return tuple(found)


def _printed(table: str) -> Iterator[dict[str, Any]]:
    """One dictionary per printed row, in order: its text and every number by name."""
    printed = facts("jsq2024", table)
    starts = (printed["metric"] == "macs").cumsum()
    for _, part in printed.groupby(starts, sort=True):
        first = part.iloc[0]
        numbers = {
            str(t or m): float(v)
            for t, m, v in zip(part["task"], part["metric"], part["value"], strict=True)
        }
        kind = {
            (False, False): "dense",
            (True, False): "pruning",
            (False, True): "quantization",
            (True, True): "joint",
        }
        yield {
            "model": first["model"],
            "method": first["row_label"],
            **numbers,
            "kind": kind[bool(first["method_prune"]), bool(first["method_quant"])],
        }


def _nearest(table: str, row: Mapping[str, Any], dense: Mapping[str, Any]) -> Row:
    """The settings that come nearest to both printed numbers."""
    shape = SHAPES[row["model"]]
    # Only the linear layers become cheaper: what is saved of the dense MACs is theirs.
    cost = 1 - (dense["macs"] - row["macs"]) * TERA / (shape.linear * TOKENS)
    choices = range(1, 17) if row["kind"] in ("quantization", "joint") else (16,)
    whole = row["kind"] in ("dense", "quantization")
    kept = {b: 1.0 if whole else cost / (b / 16) ** 2 for b in choices}
    tried = [_row(table, row, dense, 1 - kept[b], b) for b in choices if 0 < kept[b] <= 1]
    return min(
        tried or [_row(table, row, dense, 0.0, 16)],
        key=lambda r: abs(r.computed_size - r.size) + abs(r.computed_macs - r.macs) / 10,
    )


def _row(
    table: str, row: Mapping[str, Any], dense: Mapping[str, Any], sparsity: float, bits: float
) -> Row:
    shape, accuracies, best = SHAPES[row["model"]], _accuracies(row), _accuracies(dense)
    return Row(
        table=table,
        model=row["model"],
        method=row["method"],
        kind=row["kind"],
        macs=row["macs"],
        size=row["size"],
        sparsity=sparsity,
        bits=float(bits),
        computed_macs=macs(shape, sparsity=sparsity, bits=bits) / TERA,
        computed_size=size(shape, sparsity=sparsity, bits=bits) / GIB,
        retention=sum(accuracies) / sum(best),
        mean_retention=sum(a / b for a, b in zip(accuracies, best, strict=True)) / TASKS,
        ppl_ratio=dense["WikiText2"] / row["WikiText2"],
    )


def _accuracies(row: Mapping[str, Any]) -> list[float]:
    names = ("PIQA", "BoolQ", "MMLU", "HellaSwag", "Arc-e", "Arc-c", "WinoGrande")
    return [row[name] for name in names]


def averages() -> pd.DataFrame:
    """The printed mean of each row of tables 1 and 9 beside the mean of its seven accuracies.

    Columns: table, model, method, printed, computed, difference, agrees (to the rounding of
    the printed accuracies).
    """
    found = []
    for table in TABLES:
        for row in _printed(table):
            mean = sum(_accuracies(row)) / TASKS
            # Seven values to 0.005 (MMLU to 0.05), the mean itself to 0.005.
            slack = 0.005 + (6 * 0.005 + 0.05) / TASKS
            found.append(
                {
                    "table": table,
                    "model": row["model"],
                    "method": row["method"],
                    "printed": row["Avg"],
                    "computed": mean,
                    "difference": row["Avg"] - mean,
                    "agrees": abs(row["Avg"] - mean) <= slack + 1e-9,
                }
            )
    return pd.DataFrame(found)


def points() -> pd.DataFrame:
    """Every compressed row of tables 1 and 9 as a point against rate.

    Columns: source, model, label, kind, tcr (one minus printed size over dense size, which
    is eq. 1 of arXiv:2505.07289 here), sr2 (sum of seven accuracies over the dense sum), sr1
    (mean of their retentions) and ppl_ratio (dense perplexity over the row's). No standard
    errors were published.
    """
    every = [row for table in TABLES for row in rows(table) if row.kind != "dense"]
    whole = {row.model: row.size for table in TABLES for row in rows(table) if row.kind == "dense"}
    return pd.DataFrame(
        [
            {
                "source": f"jsq2024 table {r.table}",
                "model": r.model,
                "label": r.method,
                "kind": r.kind,
                "tcr": 1 - r.size / whole[r.model],
                "sr2": r.retention,
                "sr1": r.mean_retention,
                "ppl_ratio": r.ppl_ratio,
            }
            for r in every
        ]
    )


def accounting_table() -> Table:
    """Every row of tables 1 and 9: printed and computed MACs and sizes."""
    frame = pd.DataFrame(
        [
            {
                "table": r.table,
                "model": r.model,
                "method": r.method,
                "macs": r.macs,
                "computed_macs": r.computed_macs,
                "size": r.size,
                "computed_size": r.computed_size,
                "sparsity": r.sparsity,
                "bits": r.bits,
                "reproduced": r.reproduced,
            }
            for table in TABLES
            for r in rows(table)
        ]
    )
    columns = (
        Column(key="table", title="Table"),
        Column(key="model", title="Model"),
        Column(key="method", title="Method"),
        Column(key="macs", title="MACs, T", form="number", digits=2),
        Column(key="computed_macs", title="computed", form="number", digits=2),
        Column(key="size", title="Size, GiB", form="number", digits=1),
        Column(key="computed_size", title="computed", form="number", digits=2),
        Column(key="sparsity", title="Implied sparsity", form="percent", digits=1),
        Column(key="bits", title="Implied bits", form="number", digits=0),
        Column(key="reproduced", title="Reproduced"),
    )
    return Table(
        name="jsq_accounting",
        caption="MACs and sizes of JSQ's tables 1 and 9, computed again",
        columns=columns,
        rows=frame,
        notes=(
            "MACs at 2,048 tokens: linear layers × (1 − s)(b/16)², head and attention as they "
            "are; size: all weights × (1 − s) b/16, without mask and scales. JSQ prints neither "
            "s nor b: whole bits and a sparsity are sought that give both printed numbers; "
            "where none do, those of the same method on LLaMA-7B are taken.",
        ),
    )


def averages_table() -> Table:
    """The rows whose printed mean is not that of their accuracies."""
    frame = averages()
    columns = (
        Column(key="table", title="Table"),
        Column(key="model", title="Model"),
        Column(key="method", title="Method"),
        *several(
            "number",
            2,
            printed="Printed mean",
            computed="Mean of the seven",
            difference="Difference",
        ),
    )
    agree = int(frame["agrees"].sum())
    return Table(
        name="jsq_averages",
        caption="Printed means of JSQ's tables 1 and 9 that do not add up",
        columns=columns,
        rows=frame[~frame["agrees"]].reset_index(drop=True),
        notes=(
            f"{agree} of {len(frame)} printed means agree with their seven accuracies to "
            "rounding; these do not.",
        ),
    )
