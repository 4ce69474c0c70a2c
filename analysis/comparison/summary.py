"""Every cell and every score with what follows from it: rates, retention, SrCr, flags.

Two plain tables at full precision; rounding is left to whoever prints them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from analysis.data.panel import Panel
from analysis.metrics import (
    DENSE_BITS,
    Array,
    Estimate,
    scaled,
    srcr_estimate,
    tcr,
    weight_j,
    weight_p,
    weight_q,
)

KINDS = ("dense", "pruning", "quantization", "joint")
WEIGHTS = {"srcr_p": "pruning", "srcr_q": "quantization", "srcr_j": "joint"}


def kinds(cells: pd.DataFrame) -> pd.Series[str]:
    """Per cell: "dense", "pruning", "quantization" or "joint"."""
    index = (cells["sparsity"] > 0).astype(int) + 2 * (cells["bits"] < DENSE_BITS).astype(int)
    return index.map(dict(enumerate(KINDS)))


def retention_table(panels: Sequence[Panel]) -> pd.DataFrame:
    """One row per cell and task: score, retention (eq. 10), standard errors, gap, flags.

    Where an evaluation was given up (`stopped`), the score is the one so far.
    """
    return (
        pd.concat([_retentions(panel) for panel in panels], ignore_index=True)
        if panels
        else (pd.DataFrame())
    )


def _retentions(panel: Panel) -> pd.DataFrame:
    each, count = panel.retentions(), len(panel.tasks)
    flat = {name: panel.cells[name].repeat(count).to_numpy() for name in ("model", "cell", "label")}
    over = len(panel.cells)
    return pd.DataFrame(
        {
            **flat,
            "task": np.tile(np.array(panel.tasks, dtype=object), over),
            "metric": np.tile(np.array(panel.metrics, dtype=object), over),
            "value": panel.shown.ravel(),
            "stderr": panel.stderr.ravel(),
            "n": panel.n.ravel(),
            "retention": each.value.ravel(),
            "retention_stderr": each.stderr.ravel(),
            "gap": panel.gap.ravel(),
            "remark": panel.remark.ravel(),
            "stopped": panel.stopped.ravel(),
            "at_chance": np.tile(np.array(panel.chance, dtype=object), over),
        }
    )


def summarise(panels: Sequence[Panel]) -> pd.DataFrame:
    """One row per cell: its rates, sizes, Sr1, Sr2, SrCr_p, SrCr_q, SrCr_j and the estimate.

    SrCr_p stands only in pruned-only cells, SrCr_q only in quantized-only ones, SrCr_j and
    its estimate only in joint ones: elsewhere the formula gives 0 or another scale.
    `why` says why there is no Sr. Sizes are as measured; `size` is bytes over the
    baseline's bytes, `whole_tcr` counts the weights that stay at 16 bit.
    """
    return (
        pd.concat([_summary(p) for p in panels], ignore_index=True) if panels else (pd.DataFrame())
    )


@lru_cache(maxsize=8)  # tables and figures all ask; a panel never changes
def _summary(panel: Panel) -> pd.DataFrame:
    cells = panel.cells
    exact = [tcr(p, q) for p, q in zip(cells["sparsity"], cells["bits"], strict=True)]
    rate = np.array([float(f) for f in exact])
    dense_bytes = np.nan if panel.baseline is None else cells["bytes"].iloc[panel.baseline]
    table = cells.assign(
        kind=kinds(cells),
        tcr=rate,
        tcr_exact=[str(f) for f in exact],
        whole_tcr=rate * cells["linear_weights"] / cells["total_weights"],
        size=cells["bytes"] / dense_bytes,
        why=[panel.why_no_sr(row) for row in range(len(cells))],
        remark=[next((r for r in row if r), "") for row in panel.remark],
    )
    columns = {"sr1": panel.sr1(), "sr2": panel.sr2(), **_srcr(panel, table["kind"])}
    for name, estimate in columns.items():
        table[name], table[f"{name}_stderr"] = estimate.value, estimate.stderr
    return table


def srcr_weight(panel: Panel, name: str) -> Array:
    """(C,) the weight of eq. 13, 14 or 15; nan where the cell is of another kind."""
    p, q = panel.cells["sparsity"].to_numpy(float), panel.cells["bits"].to_numpy(float)
    weight = {"srcr_p": weight_p(p), "srcr_q": weight_q(q), "srcr_j": weight_j(p, q)}[name]
    return np.where(kinds(panel.cells) == WEIGHTS[name], weight, np.nan)


def _srcr(panel: Panel, kind: pd.Series[str]) -> dict[str, Estimate]:
    retained = panel.sr2()
    columns = {name: scaled(srcr_weight(panel, name), retained) for name in WEIGHTS}
    columns["srcr_estimate"] = _estimates(panel, kind)
    return columns


def _estimates(panel: Panel, kind: pd.Series[str]) -> Estimate:
    """(C,) SrCr_p * SrCr_q of the two cells that a joint cell combines."""
    joint = [int(row) for row in np.flatnonzero((kind == "joint").to_numpy())]
    value, stderr = np.full(len(kind), np.nan), np.full(len(kind), np.nan)
    keys_p, keys_q = _keys(panel.cells, _PRUNED_BY), _keys(panel.cells, _QUANTIZED_BY)
    pruned, quantized = _single(kind, "pruning", keys_p), _single(kind, "quantization", keys_q)
    kept = panel.counted & panel.higher
    totals = panel.comparable()[:, kept].sum(axis=1)
    weight = srcr_weight(panel, "srcr_j")
    if panel.baseline is None or not kept.any():
        return Estimate(value=value, stderr=stderr)
    for row in joint:
        p = _find(pruned, keys_p[row])
        q = _find(quantized, keys_q[row])
        if p is not None and q is not None:
            three = [p, q, panel.baseline]
            spread = [panel.covariance(int(task), three) for task in np.flatnonzero(kept)]
            one = srcr_estimate(weight[row], totals[three], np.sum(spread, axis=0))
            value[row], stderr[row] = one.value, one.stderr
    return Estimate(value=value, stderr=stderr)


_Key = tuple[object, ...]
_TEXT = ("calibration_samples", "calibration_seed")
_PRUNED_BY = ("prune_method", "sparsity", "pattern", "prune_profile", *_TEXT)
_QUANTIZED_BY = ("quant_method", "bits", "quant_profile", "group_size", *_TEXT)


def _keys(cells: pd.DataFrame, names: Sequence[str]) -> list[_Key]:
    """Per cell what identifies one of its methods; its calibration comes last."""
    # nan is no key: it differs from itself.
    columns = [[None if v != v else v for v in cells[name]] for name in names]
    return list(zip(*columns, strict=True))


def _find(side: Mapping[_Key, int], key: _Key) -> int | None:
    """The partner of the same calibration, else the one that needs none."""
    none = (None,) * len(_TEXT)
    return side.get(key, side.get((*key[: -len(_TEXT)], *none)))


def _single(kind: pd.Series[str], wanted: str, keys: Sequence[_Key]) -> dict[_Key, int]:
    """Single-method cells by what they are; two that look alike are left out as ambiguous."""
    found: dict[_Key, list[int]] = {}
    for row, (name, key) in enumerate(zip(kind, keys, strict=True)):
        if name == wanted:
            found.setdefault(key, []).append(row)
    return {key: rows[0] for key, rows in found.items() if len(rows) == 1}


def values(panel: Panel, by: str) -> Estimate:
    """(C,) the quantity that a verdict ranks by."""
    retained = panel.sr1() if by == "sr1" else panel.sr2()
    if not by.startswith("srcr"):
        return retained
    weight: Array = srcr_weight(panel, by)
    return Estimate(value=weight * retained.value, stderr=weight * retained.stderr)
