"""``quantize``: a checkpoint whose linear weights are packed integer codes with scales."""

from __future__ import annotations

from typing import Any

from sweeper.errors import StageFailure
from sweeper.methods import method
from sweeper.stages import Job


def run(job: Job) -> dict[str, Any]:
    """Quantizes the model and writes ``checkpoint/`` (pack-quantized).

    Raises:
        StageFailure: a Hessian cannot be inverted, weights are not finite, or a layer was
            left out.
    """
    from sweeper.stages import calibration, checkpoint
    from sweeper.stages.compress import compressed

    source = job.checkpoint("model")
    model = checkpoint.load(source, dtype=job.params["compute_dtype"], device=job.device)
    tokenizer = checkpoint.tokenizer(source)
    samples = calibration.samples(
        job.params["calibration"], tokenizer, job.sources.get("calibration")
    )
    recipe = method(job.params["method"]).recipe(job.params, model)
    with compressed(model, recipe, samples, tokenizer, job.progress):
        layers = checkpoint.linears(model)
        _require_all(layers)
        cure = "Raise quant.dampening or calibrate with more text."
        checkpoint.require_finite(model, cure)
        checkpoint.save_packed(
            model, source, job.out / "checkpoint", dtype=job.params["save_dtype"]
        )
    return {
        "layers": len(layers),
        "calibration_tokens": job.params["calibration"]["samples"]
        * job.params["calibration"]["length"],
    }


def _require_all(layers: dict[str, Any]) -> None:
    left = [n for n, m in layers.items() if getattr(m, "quantization_scheme", None) is None]
    if left:
        raise StageFailure(
            f"layers that were not quantized: {', '.join(left[:10])}. This architecture needs "
            "support in sweeper/methods."
        )
