"""``prune``: a checkpoint with a share of its linear weights set to zero, and the mask."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from sweeper.methods import _check, method
from sweeper.stages import Job


def run(job: Job) -> dict[str, Any]:
    """Prunes the model and writes ``checkpoint/`` (dense) and ``mask/mask.safetensors``.

    Raises:
        StageFailure: a Hessian cannot be inverted or weights are not finite.
    """
    from sweeper.stages import calibration, checkpoint, masks
    from sweeper.stages.compress import compressed

    source = job.checkpoint("model")
    model = checkpoint.load(source, dtype=job.params["compute_dtype"], device=job.device)
    tokenizer = checkpoint.tokenizer(source)
    samples = calibration.samples(
        job.params["calibration"], tokenizer, job.sources.get("calibration")
    )
    recipe = method(job.params["method"]).recipe(job.params, model)
    with compressed(model, recipe, samples, tokenizer, job.progress):
        pass
    cure = "Raise prune.dampening or calibrate with more text."
    checkpoint.require_finite(model, cure)
    checkpoint.save_dense(model, source, job.out / "checkpoint", dtype=job.params["save_dtype"])
    kept = {name: module.weight != 0 for name, module in checkpoint.linears(model).items()}
    masks.save(kept, job.out / "mask")
    return _summary(job, kept)


def _summary(job: Job, kept: dict[str, Any]) -> dict[str, Any]:
    """What was done, counted on the saved mask."""
    weights = sum(mask.numel() for mask in kept.values())
    zeros = weights - sum(int(mask.sum()) for mask in kept.values())
    pattern = _check.nm(job.params["pattern"])
    m = pattern[1] if pattern else 1
    tails = {name: mask.shape[1] % m for name, mask in kept.items() if mask.shape[1] % m}
    return {
        "layers": len(kept),
        "weights": weights,
        "zeros": zeros,
        "sparsity": float(Fraction(zeros, weights)),
        "calibration_tokens": job.params["calibration"]["samples"]
        * job.params["calibration"]["length"],
        # columns that no complete group of M covers: they stay dense
        "dense_tail_columns": tails,
    }
