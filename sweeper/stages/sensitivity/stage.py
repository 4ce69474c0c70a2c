"""``sensitivity``: how much the output of each matrix suffers from each of several treatments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from sweeper.stages import Job
from sweeper.store.files import write_json

if TYPE_CHECKING:
    import torch

    from sweeper.methods import Params
    from sweeper.methods.allocation.token_weights import Inputs

FILE = "sensitivity.json"
OWN = ("levels", "widths")
"""The parameters that the table repeats, for whoever allocates."""


class Measure(Protocol):
    """One kind of treatment: the errors of a matrix by how much it is treated."""

    def listen(self, module: Any, inputs: torch.Tensor) -> None:
        """Told the inputs of a matrix, [..., columns], batch by batch."""
        ...

    def of(self, module: Any, hessian: torch.Tensor) -> tuple[list[float], dict[str, Any]]:
        """(||X (W - W')^T||^2 of each option, up to the Hessian's factor; more of the row).

        X are the inputs that errors are taken on, see `run`.
        """
        ...


def run(job: Job) -> dict[str, Any]:
    """Writes ``sensitivity.json``: for each matrix its weights, and its errors by option.

    The error of an option is ||X (W - W')^T||^2 over the calibration tokens. With ``errors:
    loss`` X are the inputs of the model as it is read, each token's as long as the loss feels
    its output, and the error is half of the mean: the expected divergence in nats per token
    (see `sweeper.stages.sensitivity.gradients`). Else it is a share of ||X W^T||^2, X being the
    inputs as
    they are (``plain``) or each token's at length 1 (``unit``). W' is what the option makes of
    W, looking at the inputs as they are: without the ``levels`` shares of each row that Wanda
    scores least, rounded to each of ``widths``, or at the ranks that remove each of ``levels``
    shares (with a ``method``). One pass through the model, and before it one to the loss and
    back for ``loss``; the Hessians of one decoder layer at a time. The result names the matrices
    whose inputs took more dampening to be whitened than was asked for.

    Raises:
        BadInput: the calibration text does not fit.
        StageFailure: layers are not called one after the other, or an output is zero or not finite.
    """
    from sweeper.methods import dampening
    from sweeper.modeling import checkpoint, layer_chain, offload
    from sweeper.stages import calibration

    params = job.params
    model = checkpoint.sole(
        job.checkpoint("model"),
        dtype=params["compute_dtype"],
        trust_remote_code=job.trust_remote_code,
    )
    model = offload.place(model, job.device)
    tokenizer = checkpoint.tokenizer(
        job.checkpoint("model"), trust_remote_code=job.trust_remote_code
    )
    samples = calibration.of(job, tokenizer)
    names = {module: name for name, module in checkpoint.linears(model).items()}
    measure, rows = _measure(params, names), dict[str, Any]()
    with dampening.noted() as raised, layer_chain.opened(model, samples.to(job.device)) as layers:
        counted, begun = _counted(job, layers, names)
        states = layers.embedded()
        for index, layer in enumerate(layers.layers):
            matrices = {names[m]: m for m in layer.modules() if m in names}
            states, found = _layer(layers, index, states, matrices, measure, counted)
            rows |= found
            done = index + 1
            share = begun + (1 - begun) * done / len(layers.layers)
            job.progress(share, f"layer {done}/{len(layers.layers)}")
    own = {name: params[name] for name in OWN if name in params}
    write_json(job.out / FILE, {**own, "matrices": rows})
    return {"layers": len(rows), "calibration_tokens": samples.numel(), **raised}


def _counted(job: Job, layers: Any, names: Mapping[Any, str]) -> tuple[Inputs, float]:
    """(how much each token counts, the share of the work that was to know it)."""
    from sweeper.methods.allocation import token_weights as counted
    from sweeper.methods.profiles import LOSS, UNIT

    if job.params["errors"] == LOSS:
        from sweeper.stages.sensitivity import gradients

        share = 0.5
        return counted.FeltInputs(
            gradients.of_tokens(layers, names, lambda done, of: job.progress(share * done, of))
        ), share
    return counted.UnitInputs() if job.params["errors"] == UNIT else counted.PlainInputs(), 0.0


def _measure(params: Params, names: Mapping[Any, str]) -> Measure:
    if "widths" in params:
        from sweeper.methods.allocation.pruning_error import RoundedError

        return RoundedError(params=params)
    if "method" in params:
        from sweeper.methods.allocation.pruning_error import TruncatedError

        return TruncatedError(params=params, names=names)
    from sweeper.methods.allocation.pruning_error import PrunedError

    return PrunedError(levels=params["levels"])


def _layer(
    layers: Any,
    index: int,
    states: Any,
    matrices: dict[str, Any],
    measure: Measure,
    counted: Inputs,
) -> tuple[Any, dict[str, Any]]:
    """(what the layer gives, the rows of its matrices)."""
    from sweeper.methods.hessian import Hessians

    sums, names = Hessians(), {m: name for name, m in matrices.items()}

    def listen(module: Any, args: tuple[torch.Tensor, ...]) -> None:
        sums.add(module, counted.of(module, args[0]))
        measure.listen(module, args[0])

    handles = [module.register_forward_pre_hook(listen) for module in names]
    try:
        after = layers.through(index, states)
    finally:
        for handle in handles:
            handle.remove()
    rows = {
        names[module]: _row(names[module], module, hessian, measure, relative=counted.relative)
        for modules, (hessian, _) in sums.take()
        for module in modules
    }
    return after, rows


def _row(
    name: str, module: Any, hessian: torch.Tensor, measure: Measure, *, relative: bool
) -> dict[str, Any]:
    from sweeper.errors import StageFailure
    from sweeper.methods.hessian import NotPositiveDefinite, energy

    whole = energy(module.weight.detach().float(), hessian)
    if not 0 < whole < float("inf"):
        raise StageFailure(
            f"the calibration outputs of {name} are zero or not finite. Compute with a wider "
            "range (model.compute_dtype=float32) or calibrate with other text."
        )
    try:
        energies, more = measure.of(module, hessian)
    except NotPositiveDefinite:
        raise StageFailure(
            f"the Gram matrix of the inputs of {name} is not positive definite. Raise "
            "prune.dampening or calibrate with more text."
        ) from None
    # a Hessian is twice the mean of x x^T
    errors = [each / (whole if relative else 4.0) for each in energies]
    return {"weights": module.weight.numel(), "errors": errors, **more}
