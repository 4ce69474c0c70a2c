"""``quantize``: a checkpoint whose linear weights are packed integer codes with scales."""

from __future__ import annotations

from typing import Any

from sweeper.errors import StageFailure
from sweeper.stages import Job


def run(job: Job) -> dict[str, Any]:
    """Quantizes the model and writes ``checkpoint/`` (pack-quantized).

    Raises:
        StageFailure: a Hessian cannot be inverted, weights are not finite, or a layer was
            left out.
    """
    from sweeper.stages import checkpoint
    from sweeper.stages.compress import compressed

    source, out = job.checkpoint("model"), job.out / "checkpoint"
    with compressed(job) as (model, samples):
        layers = checkpoint.linears(model)
        _require_all(layers)
        checkpoint.require_finite(model, "Raise quant.dampening or calibrate with more text.")
        checkpoint.save_packed(model, source, out, dtype=job.params["save_dtype"])
    return {"layers": len(layers), "calibration_tokens": samples.numel()}


def _require_all(layers: dict[str, Any]) -> None:
    left = [n for n, m in layers.items() if getattr(m, "quantization_scheme", None) is None]
    if left:
        raise StageFailure(
            f"layers that were not quantized: {', '.join(left[:10])}. This architecture needs "
            "support in sweeper/methods."
        )
