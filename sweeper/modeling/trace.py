"""What a causal LM does with its matrices and norms, seen by running a few tokens through it.

The model may be anywhere, on the meta device too: tensors are followed, not values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sweeper.modeling import matrices


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What was seen of one forward pass.

    Attributes:
        norms: norm inside of a decoder layer -> the treated matrices whose input is its output
            as it is, if nothing else with weights reads that.
        unread: treated matrices whose weights the model took without calling the layer.
        in_order: whether each decoder layer was called once, on what the one before it gave.
        bare_logits: whether the logits are what the output head gave, neither scaled nor capped.
    """

    norms: Mapping[str, Sequence[str]]
    unread: Sequence[str]
    in_order: bool
    bare_logits: bool


def of(model: Any) -> Trace:
    """Runs four tokens through a model and looks.

    Raises:
        Exception: whatever the model raises, on the meta device if it looks at values.
    """
    ids = torch.arange(4, device=model.get_input_embeddings().weight.device).unsqueeze(0)
    # without a mask, masks are made by looking at values; not every architecture takes such ones
    mask = {"attention_mask": torch.ones(1, 1, 4, 4, device=ids.device)}
    for more in (mask, mask | {"position_ids": ids}) if ids.is_meta else ():
        try:
            return _traced(model, {"input_ids": ids, **more})
        except (RuntimeError, ValueError, IndexError, TypeError):
            continue
    return _traced(model, {"input_ids": ids})


def _traced(model: Any, given: Mapping[str, torch.Tensor]) -> Trace:
    treated = matrices.listed(model).treated
    layers = matrices.layers(model)
    stack = {id(module) for layer in layers for module in layer.modules()}
    inside = {name: m for name, m in model.named_modules() if id(m) in stack}
    seen = _Seen()
    for name, module in inside.items():
        if _is_norm(module):
            seen.listen(module, after=seen.wrote(name))
        elif name in treated:
            seen.listen(module, before=seen.read(name))
        elif list(module.parameters(recurse=False)):
            seen.listen(module, before=seen.read(""))
    for layer in layers:
        seen.listen(layer, before=seen.entered(layer), after=seen.left)
    head = model.get_output_embeddings()
    if head is not None:
        seen.listen(head, after=seen.headed)
    try:
        with torch.no_grad():
            logits = model(**given, use_cache=False).logits
    finally:
        seen.close()
    return Trace(
        norms={norm: by for norm, by in seen.readers.items() if "" not in by},
        unread=[name for name in treated if name not in seen.called],
        in_order=[id(layer) for layer in seen.order] == [id(layer) for layer in layers]
        and seen.linked,
        bare_logits=seen.head is not None and storage(logits) == seen.head,
    )


class _Seen:
    """Hooks on modules, and what they noted."""

    def __init__(self) -> None:
        self.readers: dict[str, list[str]] = {}
        self.called: set[str] = set()
        self.order: list[nn.Module] = []
        self.linked = True
        self.head: int | None = None
        self._made: dict[int, str] = {}
        self._last: int | None = None
        self._kept: list[torch.Tensor] = []  # so that no other tensor takes the place of one
        self._handles: list[Any] = []

    def listen(self, module: nn.Module, *, before: Any = None, after: Any = None) -> None:
        if before is not None:
            self._handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        if after is not None:
            self._handles.append(module.register_forward_hook(after))

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    def wrote(self, norm: str) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                self._kept.append(output)
                self._made[storage(output)] = norm

        return hook

    def read(self, matrix: str) -> Any:
        def hook(_module: Any, args: tuple[Any, ...], _kwargs: Any) -> None:
            self.called.add(matrix)
            given = args[0] if args else None
            norm = self._made.get(storage(given)) if isinstance(given, torch.Tensor) else None
            if norm is not None:
                self.readers.setdefault(norm, []).append(matrix)

        return hook

    def entered(self, layer: nn.Module) -> Any:
        def hook(_module: Any, args: tuple[Any, ...], _kwargs: Any) -> None:
            given = storage(args[0]) if args else None
            self.linked &= given is not None and self._last in (None, given)
            self.order.append(layer)

        return hook

    def left(self, _module: Any, _args: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        self._kept.append(states)
        self._last = storage(states)

    def headed(self, _module: Any, _args: Any, output: torch.Tensor) -> None:
        self._kept.append(output)
        self.head = storage(output)


def storage(tensor: torch.Tensor) -> int:
    """What tells whether two tensors share their memory, on the meta device too."""
    return int(tensor.untyped_storage()._cdata)


def _is_norm(module: nn.Module) -> bool:
    """Whether a module has one weight for each channel, and nothing below it."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, torch.Tensor) and weight.ndim == 1 and not list(module.children())
