"""Whether what was counted on a checkpoint is what the cell's label says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweeper.errors import StageFailure, several
from sweeper.methods import validation
from sweeper.stages.measure.matrix_stats import Row, mean_bits, total, weights_of

# a share of all weights: thresholds prune one weight too many per block and matrix, and
# the columns of inputs that were never active are zero on top of the label
TOLERANCE = 0.002
UNQUANTIZED = 16
"""Bits of a weight that is a number, as compression rates count them."""


def counted(rows: list[Row], params: Mapping[str, Any]) -> list[Row]:
    """Rows of a checkpoint that came without its mask.

    A quantized weight may also have been rounded to zero. Which zeros were pruned is not known,
    so that no more of them count than the label says, in every matrix the same share.
    """
    zeros, expected = total(rows, "held"), expected_sparsity(rows, params)
    if params["bits"] >= 16 or zeros <= expected * total(rows, "weights"):
        return rows
    share = expected * total(rows, "weights") / zeros
    return [
        r | {"pruned": round(share * r["held"]), "held": round(share * r["held"])} for r in rows
    ]


def expected_sparsity(rows: list[Row], params: Mapping[str, Any]) -> float:
    """The label's sparsity on these shapes: the last incomplete group of N:M stays dense."""
    nm = validation.nm(params["pattern"])
    if nm is None:
        return float(params["sparsity"])
    n, m = nm
    pruned = sum(r["rows"] * (r["columns"] // m) * n for r in rows)
    return float(pruned / total(rows, "weights"))


def require(rows: list[Row], params: Mapping[str, Any]) -> None:
    """Refuses a checkpoint that is not what its label says.

    Raises:
        StageFailure: names what is off, the layers, and what to do.
    """
    _require_bits(rows, params)
    _require_none(
        [r["name"] for r in rows if not r["finite"]],
        "weights are not finite",
        "Raise the dampening or calibrate with more text.",
    )
    if params["mask"] == "ignore" or not params["sparsity"]:
        return
    keep = "Quantize with quant.mask=keep, or set quant.mask=ignore to report it instead."
    _require_none(
        [r["name"] for r in rows if r["held"] < r["pruned"]],
        "pruned weights are no longer zero",
        keep,
    )
    if "nm_groups" in rows[0]:
        _require_none(
            [r["name"] for r in rows if r["nm_valid_groups"] < r["nm_groups"]],
            f"groups do not have the zeros of {params['pattern']}",
            keep,
        )
    _require_sparsity(rows, params)


def _require_none(layers: list[str], what: str, cure: str) -> None:
    if layers:
        raise StageFailure(f"{what} in {several(layers)}. {cure}")


def _require_bits(rows: list[Row], params: Mapping[str, Any]) -> None:
    if not rows:
        raise StageFailure(
            "the checkpoint has no linear matrices that can be read: expected two-dimensional "
            "weights or pack-quantized codes in *.safetensors."
        )
    if "widths" in params:
        _require_mean(rows, params["bits"], params["widths"])
        return
    _require_none(
        [r["name"] for r in rows if nominal_bits(r, params) != params["bits"]],
        f"weights are not stored with {params['bits']} bits",
        "Build this checkpoint again: its quantization was not applied or was another one.",
    )


def nominal_bits(row: Row, params: Mapping[str, Any]) -> int:
    """Bits of a weight as labels count them: an unquantized one has 16, however it is stored.

    Compression rates are rates of 16-bit models; files may hold the same numbers in float32.
    """
    floating = row["group_size"] is None and row["bits"] > UNQUANTIZED
    return UNQUANTIZED if floating and params["bits"] == UNQUANTIZED else int(row["bits"])


def _require_mean(rows: list[Row], bits: float, widths: Sequence[int]) -> None:
    """At most the label's bits in the mean, and no matrix could have had more within them."""
    _require_none(
        [r["name"] for r in rows if r["bits"] not in widths],
        f"weights are not stored with one of {', '.join(map(str, widths))} bits",
        "Build this checkpoint again: its quantization was not applied or was another one.",
    )
    left = bits * total(rows, "weights") - sum(r["bits"] * weights_of(r) for r in rows)
    steps = [
        (min(w for w in widths if w > r["bits"]) - r["bits"]) * weights_of(r)
        for r in rows
        if r["bits"] < widths[-1]
    ]
    if left < 0 or left >= min(steps, default=0):
        raise StageFailure(
            f"weights have {mean_bits(rows):.4f} bits in the mean, the label says {bits}, or less "
            "by less than one matrix's step. Build this checkpoint again: it is another one."
        )


def _require_sparsity(rows: list[Row], params: Mapping[str, Any]) -> None:
    found = total(rows, "held") / total(rows, "weights")
    expected = expected_sparsity(rows, params)
    if abs(found - expected) > TOLERANCE:
        raise StageFailure(
            f"{found:.4%} of the linear weights are pruned, the label says {expected:.4%}. "
            "Calibrate with more text if inputs were never active, else report a bug."
        )


def require_inputs(found: int, expected: int) -> None:
    """Refuses a checkpoint whose inputs have other bits than its label says.

    Raises:
        StageFailure: they have.
    """
    if found != expected:
        raise StageFailure(
            f"inputs of matrices are quantized to {found} bits, the label says {expected}. "
            "Build this checkpoint again: its quantization was not applied or was another one."
        )
