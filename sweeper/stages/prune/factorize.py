"""Replaces the matrices of a model by products of two, and saves those."""

from __future__ import annotations

from typing import Any

from sweeper.modeling import checkpoint, low_rank_format, parameter_count
from sweeper.stages import Job
from sweeper.stages.oneshot import compressed, tokens


def factorized(job: Job) -> dict[str, Any]:
    """Writes ``checkpoint/`` (see `sweeper.modeling.low_rank_format`) and ``dense.json``.

    Raises:
        StageFailure: an input's Gram matrix is not positive definite, weights are not
            finite, or the architecture is unknown.
    """
    with compressed(job) as (model, samples):
        checkpoint.require_finite(model, "Raise prune.dampening or calibrate with more text.")
    parameter_count.record(_before(model), job.out)
    low_rank_format.adopt(model)
    left = checkpoint.save_dense(
        model, job.checkpoint("model"), job.out / "checkpoint", dtype=job.params["save_dtype"]
    )
    return {
        **({"left_out": left} if left else {}),
        "layers": len(model.config.low_rank),
        "ranks": model.config.low_rank,
        "calibration_tokens": tokens(samples),
    }


def _before(model: Any) -> dict[str, int]:
    """The parameters that a factorized model had as matrices."""
    gone = sum(
        outer.out_features * inner.in_features - outer.weight.numel() - inner.weight.numel()
        for inner, outer in low_rank_format.pairs(model).values()
    )
    return {name: count + gone for name, count in parameter_count.counted(model).items()}
