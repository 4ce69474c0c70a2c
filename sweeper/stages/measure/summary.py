"""The numbers that go with every score of a cell: sparsity, rate, bits per weight, bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeper.methods import validation
from sweeper.modeling import directory
from sweeper.modeling.rate import compression_rate
from sweeper.stages.measure import checks as label
from sweeper.stages.measure.matrix_stats import (
    Count,
    MeasureParams,
    Row,
    mean_bits,
    total,
    weights_of,
)


def summary(
    rows: list[Row], others: Mapping[str, int], params: MeasureParams, sizes: dict[str, int]
) -> dict[str, Any]:
    """The numbers that go with every score of the cell."""
    rows = [{**r, "bits": label.nominal_bits(r, params)} for r in rows]
    linear, other, head = total(rows, "weights"), sum(others.values()), _head(others)
    # how sparse a checkpoint is whose mask nobody knows stays a gap
    held = total(rows, "held") if label.known(rows) else None
    result: dict[str, Any] = {
        "achieved_sparsity": None if held is None else held / linear,
        "zeros": total(rows, "zeros") / linear,
        "containment": _containment(rows),
        "nm_valid": _share(rows, "nm_valid_groups", "nm_groups"),
        "bits_per_weight": bits_per_weight(rows, params),
        "bytes": sizes | {"linear": total(rows, "stored_bits") // 8},
        "layers": len(rows),
        "linear_weights": linear,
        "total_weights": linear + other,
        "macs": None if held is None else linear - held + head,
        "macs_dense": linear + head,
        "rate": {
            "nominal": compression_rate(params["bits"], params["sparsity"]),
            **({} if held is None else _achieved(rows, linear, other, held)),
        },
    }
    return {name: value for name, value in result.items() if value is not None}


def _achieved(rows: list[Row], linear: int, other: int, held: int) -> dict[str, float]:
    kept = linear - held
    bits = sum(r["bits"] * (weights_of(r) - r["held"]) for r in rows) / kept if kept else 0.0
    rate = compression_rate(bits, held / linear)
    return {"achieved": rate, "whole_model": rate * linear / (linear + other)}


def bits_per_weight(rows: list[Row], params: MeasureParams) -> dict[str, float]:
    """Where the bits of a linear weight go, averaged over all of them.

    An unquantized weight counts as 16 bits, whatever type the files have; ``stored`` tells that.

    ``total`` = q (1 - s) + mask + scales + zero points, the size when only unpruned codes
    are stored beside a mask. ``unmasked`` stores every code. ``entropy`` bounds what any
    order-0 code of the symbols can reach. ``stored`` is what the files take.
    """
    linear = total(rows, "weights")
    scales, zero_points, entropies = (
        total(rows, "scale_bits") / linear,
        total(rows, "zero_point_bits") / linear,
        sum(r["entropy"] * r["rows"] * r["columns"] for r in rows) / linear,
    )
    bits, sparsity = mean_bits(rows), total(rows, "held") / linear
    # a mask that was not kept, or is not known, cannot stand in for codes
    masked = bool(params["sparsity"]) and params["mask"] != "ignore" and label.known(rows)
    codes = bits * (1 - sparsity) if masked else bits
    mask = mask_bits(rows, params) if masked else 0.0
    found = {
        "codes": codes,
        "mask": mask,
        "scales": scales,
        "zero_points": zero_points,
        "total": codes + mask + scales + zero_points,
        "unmasked": bits + scales + zero_points,
        "entropy": entropies + scales + zero_points,
        "stored": total(rows, "stored_bits") / linear,
    }
    return found | ({"mask_entropy": binary_entropy(sparsity)} if masked else {})


def mask_bits(rows: list[Row], params: MeasureParams) -> float:
    """Bits per weight of the mask: a bitmask has 1, N:M needs log2(C(M, N)) for M weights."""
    nm = validation.nm(params["pattern"])
    if nm is None:
        return 1.0
    n, m = nm
    groups = sum(r["rows"] * (r["columns"] // m) for r in rows)
    return float(groups * math.log2(math.comb(m, n)) / total(rows, "weights"))


def binary_entropy(share: float) -> float:
    """-s log2 s - (1-s) log2 (1-s), the least a mask of independent bits can take."""
    if not 0 < share < 1:
        return 0.0
    return -share * math.log2(share) - (1 - share) * math.log2(1 - share)


def _containment(rows: list[Row]) -> dict[str, Any] | None:
    """Share of the pruned weights that are still zero: of all, and in the worst layers by name."""
    by_layer = label.kept_by_layer(rows)
    if not by_layer:
        return None
    worst = {name: share for name, share in list(by_layer.items())[: label.WORST] if share < 1}
    return {
        "min": min(by_layer.values()),
        "mean": total(rows, "held") / total(rows, "pruned"),
        **({"worst": worst} if worst else {}),
    }


def _share(rows: list[Row], part: Count, whole: Count) -> float | None:
    count = total(rows, whole)
    return total(rows, part) / count if count else None


def _head(others: Mapping[str, int]) -> int:
    """Multiplications of the output head per token; a tied head is the embedding."""
    for word in ("lm_head", "embed_tokens", "wte", "embed"):
        found = [size for name, size in others.items() if word in name]
        if found:
            return found[0]
    return 0


def of_files(folder: Path) -> dict[str, int]:
    """Bytes of the checkpoint's tensors, and of all files of the model."""
    return {
        "checkpoint": sum(path.stat().st_size for path in directory.weights(folder)),
        "directory": sum(path.stat().st_size for path in directory.files(folder)),
    }
