"""The measurement of a checkpoint that lacks parameters, per weight of the model that had them.

So its bits per weight, its rate and its size compare with those of cells that only have zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweeper.errors import StageFailure
from sweeper.methods.low_rank.rank import INNER, OUTER, factors_of, rank_of
from sweeper.methods.profiles import ALLOCATED, LOW_RANK
from sweeper.modeling.rate import compression_rate
from sweeper.modeling.shapes import Shape
from sweeper.stages.measure.matrix_stats import MeasureParams, Row, weights_of


def against(
    dense: Mapping[str, int],
    rows: Sequence[Row],
    found: dict[str, Any],
    params: MeasureParams,
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
    # what is there has no zeros on its label, so its rate is that of its bits
    rate = 1 - (1 - found["rate"]["achieved"]) * kept
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
            "nominal": compression_rate(params["bits"], params["sparsity"]),
            "achieved": rate,
            "whole_model": rate * linear / total,
        },
    }


def _require_label(linear: int, rows: Sequence[Row], params: MeasureParams) -> None:
    kept, share = sum(weights_of(row) for row in rows), params["sparsity"]
    expected, slack = round(linear * (1 - share)), 0
    if params["pattern"] == LOW_RANK:
        matrices = _matrices({row["name"]: (row["rows"], row["columns"]) for row in rows})
        expected = sum(factors_of(shape, rank_of(*shape, share)) for shape, _ in matrices)
        slack = _least_step(matrices) - 1 if params.get("profile") == ALLOCATED else 0
    if not expected - slack <= kept <= expected:
        raise StageFailure(
            f"the checkpoint has {kept} of {linear} linear parameters, {100 * share:g}% removed "
            f"are {expected}. Build this checkpoint again: it is another one."
        )


def _matrices(sizes: Mapping[str, Shape]) -> list[tuple[Shape, int | None]]:
    """(shape before removal, rank) of every matrix; None where it stayed whole."""
    found: list[tuple[Shape, int | None]] = []
    for name, shape in sizes.items():
        stem, _, last = name.rpartition(".")
        if last == OUTER and f"{stem}.{INNER}" in sizes:
            found.append(((shape[0], sizes[f"{stem}.{INNER}"][1]), shape[1]))
        elif last != INNER or f"{stem}.{OUTER}" not in sizes:
            found.append((shape, None))
    return found


def _least_step(matrices: Sequence[tuple[Shape, int | None]]) -> int:
    """Parameters of one rank more, where that takes the fewest and is less than the matrix."""
    steps = [
        rows + columns
        for (rows, columns), rank in matrices
        if rank is not None and (rank + 1) * (rows + columns) < rows * columns
    ]
    return min(steps, default=sum(rows * columns for (rows, columns), _ in matrices))
