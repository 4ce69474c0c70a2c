"""Whether what was counted on a checkpoint is what the cell's label says."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

from sweeper.errors import StageFailure, several
from sweeper.methods import validation
from sweeper.modeling.rate import DENSE_BITS
from sweeper.stages.measure.matrix_stats import (
    MeasureParams,
    Row,
    mean_bits,
    total,
    weights_of,
)

# a share of all weights: thresholds prune one weight too many per block and matrix, and
# the columns of inputs that were never active are zero on top of the label
TOLERANCE = 0.002
WORST = 3
"""So many of the matrices that lost most of their mask are named."""
UNKNOWN = "the mask is not known: quantization may have refilled pruned weights"


def without_mask(rows: list[Row], params: MeasureParams) -> list[Row]:
    """Rows of a checkpoint of which nothing says which weights were pruned.

    Nothing can be said to be contained in the mask, so "pruned" is left out. Zeros count where
    they are proof: without quantization all of them do, and the groups of N:M have theirs, whoever
    made them. A quantized weight may also have been rounded to zero, so elsewhere "held" is left
    out too: that there are enough zeros shows nothing.
    """
    rows = [copy(row) for row in rows]
    nm = validation.nm(params["pattern"])
    for row in rows:
        del row["pruned"]
        if params["bits"] >= DENSE_BITS or not params["sparsity"]:
            continue
        if nm is None:
            del row["held"]
        else:
            row["held"] = min(row["zeros"], row["nm_valid_groups"] * nm[0])
    return rows


def known(rows: list[Row]) -> bool:
    """Whether it is known how many weights are pruned and zero."""
    return all("held" in r for r in rows)


def expected_sparsity(rows: list[Row], params: MeasureParams) -> float:
    """The label's sparsity on these shapes: the last incomplete group of N:M stays dense."""
    nm = validation.nm(params["pattern"])
    if nm is None:
        return float(params["sparsity"])
    n, m = nm
    pruned = sum(r["rows"] * (r["columns"] // m) * n for r in rows)
    return float(pruned / total(rows, "weights"))


def require(rows: list[Row], params: MeasureParams) -> None:
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
    if lost := refilled(rows):
        raise StageFailure(f"{lost}. {keep}")
    if "nm_groups" in rows[0]:
        _require_none(
            [r["name"] for r in rows if r["nm_valid_groups"] < r["nm_groups"]],
            f"groups do not have the zeros of {params['pattern']}",
            keep,
        )
    _require_sparsity(rows, params)


def refilled(rows: list[Row]) -> str:
    """How far pruned weights are no longer zero, and in which matrices most; "" if all are."""
    by_layer = kept_by_layer(rows)
    lost = [name for name, share in by_layer.items() if share < 1]
    if not lost:
        return ""
    kept = total(rows, "held") / total(rows, "pruned")
    named = ", ".join(f"{name} {by_layer[name]:.2%}" for name in lost[:WORST])
    return (
        f"pruned weights are no longer zero in {len(lost)} of {len(by_layer)} matrices: "
        f"{kept:.2%} of them are, fewest in {named}"
    )


def kept_by_layer(rows: list[Row]) -> dict[str, float]:
    """Matrix -> share of its pruned weights that are still zero, the lowest first."""
    found = {r["name"]: r["held"] / r["pruned"] for r in rows if r.get("pruned")}
    return dict(sorted(found.items(), key=lambda one: one[1]))


def _require_none(layers: list[str], what: str, cure: str) -> None:
    if layers:
        raise StageFailure(f"{what} in {several(layers)}. {cure}")


def _require_bits(rows: list[Row], params: MeasureParams) -> None:
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


def nominal_bits(row: Row, params: MeasureParams) -> int:
    """Bits of a weight as labels count them: an unquantized one has 16, however it is stored.

    Compression rates are rates of 16-bit models; files may hold the same numbers in float32.
    """
    floating = row["group_size"] is None and row["bits"] > DENSE_BITS
    return DENSE_BITS if floating and params["bits"] == DENSE_BITS else int(row["bits"])


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


def _require_sparsity(rows: list[Row], params: MeasureParams) -> None:
    expected, proof = expected_sparsity(rows, params), known(rows)
    found = total(rows, "held" if proof else "zeros") / total(rows, "weights")
    # zeros that nobody can tell from rounded weights may be more, never fewer
    if found < expected - TOLERANCE or (proof and found > expected + TOLERANCE):
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
