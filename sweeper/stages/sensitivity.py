"""``sensitivity``: how much the output of each matrix suffers at each of several sparsities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sweeper.files import write_json
from sweeper.stages import Job

if TYPE_CHECKING:
    import torch

FILE = "sensitivity.json"


def run(job: Job) -> dict[str, Any]:
    """Writes ``sensitivity.json``: for each matrix its weights, and its errors by share.

    The error of a share is ||X (W - W')^T||^2 / ||X W^T||^2 over the calibration tokens, where
    W' is W without the share of each row that Wanda scores least, and X are the inputs of the
    dense model. One pass through the model; the Hessians of one decoder layer at a time.

    Raises:
        BadInput: the calibration text does not fit.
        StageFailure: the decoder is no plain chain, or an output is zero or not finite.
    """
    from sweeper.stages import calibration, chain, checkpoint, placing

    params = job.params
    model = placing.place(checkpoint.sole(job, dtype=params["compute_dtype"]), job.device)
    samples = calibration.of(job, checkpoint.tokenizer(job.checkpoint("model")))
    names = {module: name for name, module in checkpoint.linears(model).items()}
    rows: dict[str, Any] = {}
    with chain.opened(model, samples.to(job.device)) as layers:
        states = layers.embedded()
        for index, layer in enumerate(layers.layers):
            matrices = {names[m]: m for m in layer.modules() if m in names}
            states, found = _layer(layers, index, states, matrices, params["levels"])
            rows |= found
            done = index + 1
            job.progress(done / len(layers.layers), f"layer {done}/{len(layers.layers)}")
    write_json(job.out / FILE, {"levels": params["levels"], "matrices": rows})
    return {"layers": len(rows), "calibration_tokens": samples.numel()}


def _layer(
    layers: Any, index: int, states: Any, matrices: dict[str, Any], levels: int
) -> tuple[Any, dict[str, Any]]:
    """(what the dense layer gives, the rows of its matrices)."""
    from sweeper.methods._hessian import Hessians

    sums, names = Hessians(), {module: name for name, module in matrices.items()}
    handles = [
        module.register_forward_pre_hook(lambda module, args: sums.add(module, args[0]))
        for module in names
    ]
    try:
        after = layers.through(index, states)
    finally:
        for handle in handles:
            handle.remove()
    rows = {
        names[module]: {
            "weights": module.weight.numel(),
            "errors": list(_errors(names[module], module.weight.detach().float(), hessian, levels)),
        }
        for modules, hessian in sums.take()
        for module in modules
    }
    return after, rows


def _errors(name: str, weight: torch.Tensor, hessian: torch.Tensor, levels: int) -> Iterator[float]:
    """The error of each share k / levels."""
    from sweeper.errors import StageFailure

    whole = _energy(weight, hessian)
    if not 0 < whole < float("inf"):
        raise StageFailure(
            f"the calibration outputs of {name} are zero or not finite. Compute with a wider "
            "range (model.compute_dtype=float32) or calibrate with other text."
        )
    scores = weight.abs() * hessian.diagonal().sqrt()
    ranks = scores.argsort(dim=1, stable=True).argsort(dim=1)
    for level in range(levels):
        lost = weight * (ranks < round(weight.shape[1] * level / levels))
        yield _energy(lost, hessian) / whole


def _energy(weight: torch.Tensor, hessian: torch.Tensor) -> float:
    """||X W^T||^2, up to the factor of the Hessian."""
    return float(((weight @ hessian) * weight).sum())
