"""The measurement of a checkpoint that lacks parameters, per weight of the model that had them.

So its bits per weight, its rate and its size compare with those of cells that only have zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweeper.errors import StageFailure
from sweeper.methods._rank import INNER, OUTER, rank_of


def against(
    dense: Mapping[str, int],
    rows: Sequence[Mapping[str, Any]],
    found: dict[str, Any],
    params: Mapping[str, Any],
) -> dict[str, Any]:
    """What was measured, with the model before removal as the whole.

    Args:
        dense: ``linear_weights`` and ``total_weights`` before removal.
        rows: what `measure` counted of each matrix.
        found: what `sizes.summary` says of the checkpoint's own files.
        params: of the stage; ``sparsity`` is the share that the label says.

    Raises:
        StageFailure: the share that is gone is not the label's.
    """
    linear, total = dense["linear_weights"], dense["total_weights"]
    kept = found["linear_weights"] / linear
    _require_label(linear, rows, params)
    rate = 1 - params["bits"] / 16 * kept
    bits = {name: each * kept for name, each in found["bits_per_weight"].items()}
    return {
        **found,
        "achieved_sparsity": 1 - kept,
        "bits_per_weight": bits,
        "parameters": found["total_weights"],
        "linear_weights": linear,
        "total_weights": total,
        "macs_dense": found["macs_dense"] + linear - found["linear_weights"],
        "rate": {
            "nominal": 1 - params["bits"] / 16 * (1 - params["sparsity"]),
            "achieved": rate,
            "whole_model": rate * linear / total,
        },
    }


def _require_label(
    linear: int, rows: Sequence[Mapping[str, Any]], params: Mapping[str, Any]
) -> None:
    sizes = {row["name"]: (row["rows"], row["columns"]) for row in rows}
    kept, share = sum(r * c for r, c in sizes.values()), params["sparsity"]
    expected = round(linear * (1 - share))
    if params["pattern"] == "low-rank":
        expected = sum(
            rank_of(shape[0], _inner(name, sizes)[1], share) * (shape[0] + _inner(name, sizes)[1])
            for name, shape in sizes.items()
            if name.endswith(f".{OUTER}")
        )
    if kept != expected:
        raise StageFailure(
            f"the checkpoint has {kept} of {linear} linear parameters, {100 * share:g}% removed "
            f"are {expected}. Build this checkpoint again: it is another one."
        )


def _inner(outer: str, sizes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    return sizes[outer.removesuffix(OUTER) + INNER]
