"""Proof on the spot that a transformation left what a model computes as it was.

Smoothing, scaling, folding and rotating are identities: what is taken out of one tensor is put
into the next. Which tensor is the next differs between architectures, and a table that is wrong
for one of them gives a model that runs and is another. So every transformed decoder layer is run
on the same calibration inputs before and after, without quantization; if no layer gives anything
else, neither do the logits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from llmcompressor.modifiers.utils.hooks import HooksMixin
from torch.func import functional_call

from sweeper.errors import StageFailure, several
from sweeper.modeling import matrices

EXACT = 1e-3
"""Relative difference of outputs that rounding in float32 stays far below."""
ROUNDED = 2e-2
"""The same where products of weights are rounded to 16 bits."""


class Identity:
    """Watches the decoder layers of a model while it is calibrated.

    Args:
        model: a causal LM.
        method: its name, for the message.
    """

    def __init__(self, model: Any, method: str) -> None:
        names = {id(module): name for name, module in model.named_modules()}
        self._layers = {names[id(layer)]: layer for layer in matrices.layers(model)}
        self._method = method
        self._calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self._handles = [
            layer.register_forward_pre_hook(self._listener(name), with_kwargs=True)
            for name, layer in self._layers.items()
        ]

    def _listener(self, name: str) -> Any:
        def listen(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if name not in self._calls and name in self._layers:
                self._calls[name] = (args, kwargs)

        return listen

    @contextmanager
    def kept(self, modules: Iterable[torch.nn.Module]) -> Iterator[None]:
        """Inside, the layers that these modules belong to are transformed.

        Raises:
            StageFailure: one of them then gives something else.
        """
        among = {id(module) for module in modules}
        here = {
            name: layer
            for name, layer in self._layers.items()
            if name in self._calls and any(id(m) in among for m in layer.modules())
        }
        before = {name: self._output(name) for name in here}
        yield
        wrong: dict[str, float] = {}
        for name, layer in here.items():
            after, limit = self._output(name), _limit(layer)
            difference = float((after - before[name]).norm() / before[name].norm())
            if not difference <= limit:
                wrong[name] = difference
            del self._calls[name], self._layers[name]  # it is done, and so are its inputs
        if wrong:
            raise StageFailure(
                f"{self._method} is to leave what the model computes as it was, and changed the "
                f"outputs of {several(list(wrong), 3)} by {100 * max(wrong.values()):.1f} %: which "
                "matrices follow which is not as it assumes. Use quant=gptq or quant=rtn."
            )

    def close(self) -> None:
        """Stop watching."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._calls = [], {}

    def _output(self, name: str) -> torch.Tensor:
        """What a layer makes of its first calibration batch, in float32."""
        layer, (args, kwargs) = self._layers[name], self._calls[name]
        state = {n: _wide(t) for n, t in (*layer.named_parameters(), *layer.named_buffers())}
        # what calibrates the model has switched its quantization off
        with torch.no_grad(), HooksMixin.disable_hooks():
            found = functional_call(layer, state, _wide(args), _wide(kwargs))
        output: torch.Tensor = found[0] if isinstance(found, tuple) else found
        return output


def _limit(layer: torch.nn.Module) -> float:
    """A bias of a norm is rounded to what is saved, and nothing makes up for that."""
    exact = all(
        parameter.dtype == torch.float32 and not (name.endswith("bias") and "norm" in name)
        for name, parameter in layer.named_parameters()
    )
    return EXACT if exact else ROUNDED


def _wide(value: Any) -> Any:
    """The same in float32; of nested arguments every floating tensor."""
    if isinstance(value, torch.Tensor):
        return value.detach().float() if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {key: _wide(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_wide, value))
    return [_wide(each) for each in value] if isinstance(value, list) else value
