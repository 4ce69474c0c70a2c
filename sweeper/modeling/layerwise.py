"""A calibration pipeline for llm-compressor that walks the decoder layers one by one.

It computes what llm-compressor's own sequential pipeline computes - each layer is
calibrated on the outputs of the compressed layers before it - without tracing the
model, without a head and with the model's own attention. A model whose layers do not
form a plain chain is left to llm-compressor's pipeline.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import torch
from llmcompressor.core import LifecycleCallbacks
from llmcompressor.modifiers.utils.hooks import HooksMixin
from llmcompressor.pipelines.registry import CalibrationPipeline
from llmcompressor.pipelines.sequential import SequentialPipeline
from llmcompressor.utils.helpers import DisableQuantization, disable_cache, eval_context

from sweeper.modeling import matrices

NAME = "layerwise"
Call = tuple[tuple[Any, ...], dict[str, Any]]  # arguments of one decoder layer

progress: ContextVar[Callable[..., None] | None] = ContextVar("progress", default=None)


class Enough(Exception):
    """Ends a forward pass at a decoder layer."""


@CalibrationPipeline.register(NAME)
class LayerwisePipeline(CalibrationPipeline):  # type: ignore[misc]  # it is untyped
    """See the module; called by `oneshot`."""

    @staticmethod
    def __call__(model: Any, dataloader: Any, dataset_args: Any) -> None:
        """Calibrates and compresses ``model`` in place; without data, only compresses."""
        if dataloader is None:
            _walk_without_data(model)
            return
        with calibrating(model):
            calls = chain(model, next(iter(dataloader))["input_ids"])
            if calls is not None:
                _walk(model, calls, dataloader)
        if calls is None:
            SequentialPipeline()(model, dataloader, dataset_args)


@contextlib.contextmanager
def calibrating(model: Any) -> Iterator[None]:
    """Inside, nothing is learned, cached or quantized by a forward pass."""
    with torch.no_grad(), disable_cache(model), eval_context(model), DisableQuantization(model):
        yield


def decoder_layers(model: Any) -> list[torch.nn.Module]:
    """The decoder layers in order, or an empty list where they are not in one list."""
    return matrices.layers(model)


def _walk(model: Any, calls: list[Call], dataloader: Any) -> None:
    layers = decoder_layers(model)
    LifecycleCallbacks.calibration_start()
    hidden = [embedded(model, layers[0], batch["input_ids"]) for batch in dataloader]
    for index, (layer, (args, kwargs)) in enumerate(zip(layers, calls, strict=True)):
        for states in hidden:
            layer(states, *args[1:], **kwargs)
        LifecycleCallbacks.sequential_epoch_end(list(layer.modules()))
        if index + 1 < len(layers):
            with HooksMixin.disable_hooks():
                for i, states in enumerate(hidden):
                    hidden[i] = states_of(layer(states, *args[1:], **kwargs))
        _report(index, len(layers))
    LifecycleCallbacks.calibration_end()


def _walk_without_data(model: Any) -> None:
    layers = decoder_layers(model) or [model]
    LifecycleCallbacks.calibration_start()
    for index, layer in enumerate(layers):
        LifecycleCallbacks.sequential_epoch_end(list(layer.modules()))
        _report(index, len(layers))
    LifecycleCallbacks.calibration_end()


def _report(index: int, layers: int) -> None:
    report = progress.get()
    if report is not None:
        report((index + 1) / layers, f"layer {index + 1}/{layers}")


def embedded(model: Any, first: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """What the first decoder layer is given for ``ids``."""
    calls = _record(model, [first], ids, stop=True)[0]
    states: torch.Tensor = calls[0][0]
    return states


def chain(model: Any, ids: torch.Tensor) -> list[Call] | None:
    """The other arguments of every layer, or None unless they are the same for all samples.

    Two samples of one length are run through the whole model: each layer must take the
    output of the one before it first, and nothing else may depend on the sample.
    """
    layers = decoder_layers(model)
    if not layers or len(ids) < 1:
        return None
    calls, outputs = _record(model, layers, ids[:1])
    others, _ = _record(model, layers, ids[:1].roll(1, dims=1))
    if len(calls) != len(layers) or not all(args for args, _ in calls):
        return None
    if not _batches(layers[0], calls[0], outputs[0]):
        return None
    linked = all(c[0][0] is out for c, out in zip(calls[1:], outputs[:-1], strict=True))
    same = all(_equal((a[1:], k), (b[1:], q)) for (a, k), (b, q) in zip(calls, others, strict=True))
    return calls if linked and same else None


def _batches(layer: torch.nn.Module, call: Call, one: torch.Tensor) -> bool:
    """Whether the other arguments of a layer, made for one sample, do for several at once."""
    args, kwargs = call
    try:
        with HooksMixin.disable_hooks():
            two = states_of(layer(torch.cat([args[0], args[0]]), *args[1:], **kwargs))
    except (RuntimeError, ValueError):  # of other shapes: they hold something of each sample
        return False
    return two.shape[1:] == one.shape[1:] and len(two) == 2


def _record(
    model: Any, layers: list[torch.nn.Module], ids: torch.Tensor, *, stop: bool = False
) -> Any:
    """Runs the decoder on ``ids``; (arguments of each layer, output of each layer)."""
    calls: list[Call] = []
    outputs: list[torch.Tensor] = []

    def before(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args, kwargs))
        if stop:
            raise Enough

    handles = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in layers]
    handles += [
        layer.register_forward_hook(lambda _m, _a, out: outputs.append(states_of(out)))
        for layer in layers
    ]
    try:
        with HooksMixin.disable_hooks(), contextlib.suppress(Enough):
            model.get_decoder()(input_ids=ids.to(model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return (calls[0], None) if stop else (calls, outputs)


def states_of(output: Any) -> torch.Tensor:
    """The hidden states in what a decoder layer returned."""
    found: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return found


def _equal(a: Any, b: Any) -> bool:
    """Structural equality of nested arguments, tensors by value."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)
