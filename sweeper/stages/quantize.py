"""``quantize``: a checkpoint whose linear weights are packed codes with scales."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Any

from sweeper.errors import StageFailure, several
from sweeper.methods import ByLoading, by_loading
from sweeper.stages import Job
from sweeper.store.files import write_json


def run(job: Job) -> dict[str, Any]:
    """Quantizes the model and writes ``checkpoint/``, in the format of its method's library.

    A method that prunes too has its mask written to ``mask/mask.safetensors``. The result names
    the matrices whose Hessian took more dampening than was asked for. A method that looks at
    Hessians leaves ``layer_errors.json``, a row of `sweeper.methods.layer_errors` per matrix.

    Raises:
        StageFailure: a Hessian cannot be inverted, weights are not finite, or a layer was
            left out.
    """
    how = by_loading(job.params["method"])
    if how:
        return _loaded(job, how)
    from sweeper.methods import dampening, layer_errors

    with dampening.noted() as raised, layer_errors.recorded() as errors:
        result = _modified(job)
    if errors:
        write_json(job.out / layer_errors.FILE, list(errors.values()))
    return {**result, **raised}


def _modified(job: Job) -> dict[str, Any]:
    """By llm-compressor, into a pack-quantized checkpoint."""
    from sweeper.modeling import checkpoint, masks
    from sweeper.stages.oneshot import compressed, tokens

    source, out = job.checkpoint("model"), job.out / "checkpoint"
    with compressed(job) as (model, samples):
        layers = checkpoint.linears(model)
        _require_none(n for n, m in layers.items() if not _is_quantized(m))
        checkpoint.require_finite(model, "Raise quant.dampening or calibrate with more text.")
        kept = {n: m.kept for n, m in layers.items() if hasattr(m, "kept")}
        left = checkpoint.save_packed(
            model,
            source,
            out,
            dtype=job.params["save_dtype"],
            trust_remote_code=job.trust_remote_code,
        )
    if kept:
        masks.save(kept, job.out / "mask")
    return _result(layers, tokens(samples), left)


def _loaded(job: Job, how: ByLoading) -> dict[str, Any]:
    """By transformers, which hands each matrix to the method's library while it loads."""
    from torch.nn import Linear

    from sweeper.modeling import checkpoint, matrices

    params = job.params
    source, trust = job.checkpoint("model"), job.trust_remote_code
    unloaded = matrices.on_meta(source, trust_remote_code=trust)
    beside = matrices.beside(unloaded)
    model = checkpoint.sole(
        source,
        dtype=params["save_dtype"],
        device=job.device,
        trust_remote_code=trust,
        quantization=how.loading({**params, "untreated": beside}),
    )
    layers = checkpoint.linears(model)
    _require_none(n for n, m in layers.items() if type(m) is Linear)
    left = checkpoint.save_as_it_is(model, source, job.out / "checkpoint", trust_remote_code=trust)
    return _result(layers, 0, left)


def _result(layers: Sized, calibration_tokens: int, left_out: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"layers": len(layers), "calibration_tokens": calibration_tokens}
    return found | ({"left_out": left_out} if left_out else {})


def _is_quantized(module: Any) -> bool:
    """Whether a matrix has a grid that was set: see `sweeper.methods._nearest.poison`."""
    scale = getattr(module, "weight_scale", None)
    return hasattr(module, "quantization_scheme") and not (
        scale is not None and bool(scale.isnan().all())
    )


def _require_none(layers: Iterable[str]) -> None:
    left = list(layers)
    if left:
        raise StageFailure(
            f"layers that were not quantized: {several(left)}. This architecture needs support "
            "in sweeper/methods."
        )
