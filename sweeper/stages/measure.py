"""``measure``: counts on the checkpoint's files whether a cell is what its label says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.errors import StageFailure
from sweeper.methods import _check
from sweeper.stages import Job

if TYPE_CHECKING:
    import torch

    from sweeper.stages.matrix import Matrix

Row = dict[str, Any]

# a share of all weights: thresholds prune one weight too many per block and matrix, and
# the columns of inputs that were never active are zero on top of the label
TOLERANCE = 0.002


def run(job: Job) -> dict[str, Any]:
    """Measures one checkpoint; one row per matrix goes to ``layers.json``.

    Raises:
        StageFailure: the cell is not what its label says, and the label does not admit it.
    """
    from sweeper.stages import masks, parameters, removed
    from sweeper.stages.weights import Files

    folder, params = job.checkpoint("model"), _as_whole(job.params)
    pruned = job.inputs.get("pruned", job.inputs.get("model"))
    has_mask = pruned is not None and (pruned / "mask").is_dir()
    kept = masks.load(pruned / "mask") if pruned is not None and has_mask else None
    with Files(folder) as files:
        rows = [_row(m, params, kept) for m in files.matrices()]
        others, inputs = files.other_sizes(), files.activation_bits
    (job.out / "layers.json").write_text(json.dumps(rows, indent=1) + "\n")
    if params.get("elsewhere"):
        rows = counted(rows, params)
    require_label(rows, params)
    _require_inputs(inputs, params.get("activation_bits", 16))
    found = summary(rows, others, params, _bytes(folder)) | {"activation_bits": inputs}
    dense = parameters.recorded(pruned)
    return found if dense is None else removed.against(dense, rows, found, job.params)


def read_rows(folder: Path, params: Mapping[str, Any]) -> list[Row]:
    """What is counted of every matrix of a checkpoint that came without its mask."""
    from sweeper.stages.weights import Files

    with Files(folder) as files:
        return [_row(matrix, params, None) for matrix in files.matrices()]


def _as_whole(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the label asks of the matrices that are there: where some were removed, no zeros."""
    if params["pattern"] not in _check.REMOVED:
        return params
    return {**params, "sparsity": 0.0, "pattern": "unstructured"}


def _row(matrix: Matrix, params: Mapping[str, Any], kept: Mapping[str, Any] | None) -> Row:
    """What is counted of one matrix."""
    nm = _check.nm(params["pattern"])
    rows, columns = matrix.zero.shape
    row: Row = {
        "name": matrix.name,
        "rows": rows,
        "columns": columns,
        "zeros": int(matrix.zero.sum()),
        "finite": matrix.finite,
        "bits": matrix.bits,
        "group_size": matrix.group_size,
        "entropy": entropy(matrix.symbols),
        "scale_bits": 8 * matrix.scale_bytes,
        "zero_point_bits": 8 * matrix.zero_point_bytes,
        "stored_bits": 8 * matrix.stored_bytes,
    }
    row |= _held(matrix, params, kept)
    if nm is not None:
        row["nm_groups"] = rows * (columns // nm[1])
        row["nm_valid_groups"] = valid_groups(matrix.zero, *nm)
    return row


def _held(matrix: Matrix, params: Mapping[str, Any], kept: Mapping[str, Any] | None) -> Row:
    """How many weights were pruned, and how many of those are still exactly zero."""
    if kept is not None:
        pruned = ~kept[matrix.name]
        return {"pruned": int(pruned.sum()), "held": int((pruned & matrix.zero).sum())}
    zeros = int(matrix.zero.sum()) if params["sparsity"] else 0
    return {"pruned": zeros, "held": zeros}


def counted(rows: list[Row], params: Mapping[str, Any]) -> list[Row]:
    """Rows of a checkpoint that came without its mask.

    A quantized weight may also have been rounded to zero. Which zeros were pruned is not known,
    so that no more of them count than the label says, in every matrix the same share.
    """
    zeros, expected = _total(rows, "held"), expected_sparsity(rows, params)
    if params["bits"] >= 16 or zeros <= expected * _total(rows, "weights"):
        return rows
    share = expected * _total(rows, "weights") / zeros
    return [
        r | {"pruned": round(share * r["held"]), "held": round(share * r["held"])} for r in rows
    ]


def valid_groups(zero: torch.Tensor, n: int, m: int) -> int:
    """Number of complete groups of ``m`` neighbours in a row with at least ``n`` zeros."""
    rows, columns = zero.shape
    groups = zero[:, : columns - columns % m].reshape(rows, -1, m)
    return int((groups.sum(-1) >= n).sum())


def entropy(symbols: torch.Tensor) -> float:
    """Order-0 entropy of the stored symbols in bits per weight; pruned zeros are symbols too."""
    import torch

    counts = torch.unique(symbols, return_counts=True)[1].double()
    share = counts / counts.sum()
    return float(-(share * share.log2()).sum()) + 0.0


def expected_sparsity(rows: list[Row], params: Mapping[str, Any]) -> float:
    """The label's sparsity on these shapes: the last incomplete group of N:M stays dense."""
    nm = _check.nm(params["pattern"])
    if nm is None:
        return float(params["sparsity"])
    n, m = nm
    pruned = sum(r["rows"] * (r["columns"] // m) * n for r in rows)
    return float(pruned / _total(rows, "weights"))


def require_label(rows: list[Row], params: Mapping[str, Any]) -> None:
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
        more = f" and {len(layers) - 10} more" if len(layers) > 10 else ""
        raise StageFailure(f"{what} in {', '.join(layers[:10])}{more}. {cure}")


def _require_bits(rows: list[Row], params: Mapping[str, Any]) -> None:
    if not rows:
        raise StageFailure(
            "the checkpoint has no linear matrices that can be read: expected two-dimensional "
            "weights or pack-quantized codes in *.safetensors."
        )
    _require_none(
        [r["name"] for r in rows if r["bits"] != params["bits"]],
        f"weights are not stored with {params['bits']} bits",
        "Build this checkpoint again: its quantization was not applied or was another one.",
    )


def _require_inputs(found: int, expected: int) -> None:
    if found != expected:
        raise StageFailure(
            f"inputs of matrices are quantized to {found} bits, the label says {expected}. "
            "Build this checkpoint again: its quantization was not applied or was another one."
        )


def _require_sparsity(rows: list[Row], params: Mapping[str, Any]) -> None:
    found = _total(rows, "held") / _total(rows, "weights")
    expected = expected_sparsity(rows, params)
    if abs(found - expected) > TOLERANCE:
        raise StageFailure(
            f"{found:.4%} of the linear weights are pruned, the label says {expected:.4%}. "
            "Calibrate with more text if inputs were never active, else report a bug."
        )


def summary(
    rows: list[Row], others: Mapping[str, int], params: Mapping[str, Any], sizes: dict[str, int]
) -> dict[str, Any]:
    """The numbers that go with every score of the cell."""
    linear, held = _total(rows, "weights"), _total(rows, "held")
    other = sum(others.values())
    sparsity = held / linear
    rate = 1 - params["bits"] / 16 * (1 - sparsity)
    head = _head(others)
    result: dict[str, Any] = {
        "achieved_sparsity": sparsity,
        "zeros": _total(rows, "zeros") / linear,
        "containment": _containment(rows),
        "nm_valid": _share(rows, "nm_valid_groups", "nm_groups"),
        "bits_per_weight": bits_per_weight(rows, params),
        "bytes": sizes | {"linear": _total(rows, "stored_bits") // 8},
        "layers": len(rows),
        "linear_weights": linear,
        "total_weights": linear + other,
        "macs": linear - held + head,
        "macs_dense": linear + head,
        "rate": {
            "nominal": 1 - params["bits"] / 16 * (1 - params["sparsity"]),
            "achieved": rate,
            "whole_model": rate * linear / (linear + other),
        },
    }
    return {name: value for name, value in result.items() if value is not None}


def bits_per_weight(rows: list[Row], params: Mapping[str, Any]) -> dict[str, float]:
    """Where the bits of a linear weight go, averaged over all of them.

    ``total`` = q (1 - s) + mask + scales + zero points, the size when only unpruned codes
    are stored beside a mask. ``unmasked`` stores every code. ``entropy`` bounds what any
    order-0 code of the symbols can reach. ``stored`` is what the files take.
    """
    linear = _total(rows, "weights")
    scales, zero_points, entropies = (
        _total(rows, "scale_bits") / linear,
        _total(rows, "zero_point_bits") / linear,
        sum(r["entropy"] * r["rows"] * r["columns"] for r in rows) / linear,
    )
    bits, sparsity = float(params["bits"]), _total(rows, "held") / linear
    # a mask that was not kept cannot stand in for codes
    masked = bool(params["sparsity"]) and params["mask"] != "ignore"
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
        "stored": _total(rows, "stored_bits") / linear,
    }
    return found | ({"mask_entropy": binary_entropy(sparsity)} if masked else {})


def mask_bits(rows: list[Row], params: Mapping[str, Any]) -> float:
    """Bits per weight of the mask: a bitmask has 1, N:M needs log2(C(M, N)) for M weights."""
    nm = _check.nm(params["pattern"])
    if nm is None:
        return 1.0
    n, m = nm
    groups = sum(r["rows"] * (r["columns"] // m) for r in rows)
    return float(groups * math.log2(math.comb(m, n)) / _total(rows, "weights"))


def binary_entropy(share: float) -> float:
    """-s log2 s - (1-s) log2 (1-s), the least a mask of independent bits can take."""
    if not 0 < share < 1:
        return 0.0
    return -share * math.log2(share) - (1 - share) * math.log2(1 - share)


def _containment(rows: list[Row]) -> dict[str, float] | None:
    """Share of the pruned weights that are still zero: of all, and in the worst layer."""
    pruned = _total(rows, "pruned")
    if not pruned:
        return None
    by_layer = [r["held"] / r["pruned"] for r in rows if r["pruned"]]
    return {"min": min(by_layer), "mean": _total(rows, "held") / pruned}


def _share(rows: list[Row], part: str, whole: str) -> float | None:
    total = _total(rows, whole)
    return _total(rows, part) / total if total else None


def _total(rows: list[Row], name: str) -> int:
    if name == "weights":
        return sum(r["rows"] * r["columns"] for r in rows)
    return sum(r.get(name, 0) for r in rows)


def _head(others: Mapping[str, int]) -> int:
    """Multiplications of the output head per token; a tied head is the embedding."""
    for word in ("lm_head", "embed_tokens", "wte", "embed"):
        found = [size for name, size in others.items() if word in name]
        if found:
            return found[0]
    return 0


def _bytes(folder: Path) -> dict[str, int]:
    """Bytes of the checkpoint's tensors, and of all its files."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {
        "checkpoint": sum(p.stat().st_size for p in files if p.suffix == ".safetensors"),
        "directory": sum(p.stat().st_size for p in files),
    }
