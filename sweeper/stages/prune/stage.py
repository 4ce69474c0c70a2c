"""``prune``: a checkpoint with a share of its linear weights gone: zeros and a mask, or removed."""

from __future__ import annotations

from typing import Any

from sweeper.methods import ByRemoval, Reshaping, method, validation
from sweeper.stages import Job


def run(job: Job) -> dict[str, Any]:
    """Prunes the model and writes ``checkpoint/`` and ``mask/mask.safetensors``.

    The checkpoint is dense; that of a quantized model stays quantized, on the grid it has.

    A method that removes parameters leaves no mask but ``dense.json``: how many there were.
    The result names the matrices whose Gram matrix took more dampening than was asked for.

    Raises:
        StageFailure: a Hessian cannot be inverted or weights are not finite.
    """
    how = method(job.params["method"])
    if isinstance(how, ByRemoval):
        from sweeper.stages.prune.remove_layers import shortened

        return shortened(job, how)
    if isinstance(how, Reshaping):
        from sweeper.stages.prune.factorize import factorized

        made = factorized
    else:
        made = _masked
    from sweeper.methods import dampening

    with dampening.noted() as raised:
        result = made(job)
    return {**result, **raised}


def _masked(job: Job) -> dict[str, Any]:
    """Sets weights to zero."""
    from sweeper.modeling import checkpoint, masks
    from sweeper.stages.oneshot import compressed, tokens
    from sweeper.stages.prune import prune_quantized

    with compressed(job) as (model, samples):
        checkpoint.require_finite(model, "Raise prune.dampening or calibrate with more text.")
    source, out = job.checkpoint("model"), job.out / "checkpoint"
    left: list[str] = []
    if checkpoint.quantized_by(source):
        kept = {name: module.kept.cpu() for name, module in checkpoint.linears(model).items()}
        prune_quantized.save(source, out, kept, trust_remote_code=job.trust_remote_code)
    else:
        left = checkpoint.save_dense(
            model,
            source,
            out,
            dtype=job.params["save_dtype"],
            trust_remote_code=job.trust_remote_code,
        )
        kept = {name: module.weight != 0 for name, module in checkpoint.linears(model).items()}
    masks.save(kept, job.out / "mask")
    return _summary(job, kept, tokens(samples)) | ({"left_out": left} if left else {})


def _summary(job: Job, kept: dict[str, Any], calibration_tokens: int) -> dict[str, Any]:
    """What was done, counted on the saved mask."""
    weights = sum(mask.numel() for mask in kept.values())
    zeros = weights - sum(int(mask.sum()) for mask in kept.values())
    pattern = validation.nm(job.params["pattern"])
    m = pattern[1] if pattern else 1
    tail = sum(mask.shape[0] * (mask.shape[1] % m) for mask in kept.values())
    return {
        "layers": len(kept),
        "weights": weights,
        "zeros": zeros,
        "sparsity": zeros / weights,
        "calibration_tokens": calibration_tokens,
        # the end of a row that no complete group of M covers stays dense
        "dense_tail": tail / weights,
    }
