"""The parts of a Llama-like decoder layer that a change of basis has to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sweeper.errors import StageFailure, several
from sweeper.modeling import matrices, trace

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
_CLOSE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Norm:
    """A root-mean-square norm whose gain is ``offset + weight``: 0 as Llama's, 1 as Gemma's."""

    module: nn.Module
    offset: float

    @property
    def gain(self) -> torch.Tensor:
        """[width], float64."""
        return self.offset + _weight(self.module).detach().double()

    def become(self, wanted: torch.Tensor) -> None:
        """Takes another gain."""
        put(_weight(self.module), wanted - self.offset)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One decoder layer.

    Attributes:
        before_attention: the norm that q, k and v read.
        before_feed_forward: the norm that gate and up read.
        linear: "q_proj" and the like -> the matrix.
        head: width of one head.
        group: query heads for each key and value head.
        behind: norms of the residual stream's width that no matrix reads: on outputs, as Gemma's.
    """

    before_attention: Norm
    before_feed_forward: Norm
    linear: Mapping[str, nn.Linear]
    head: int
    group: int
    behind: tuple[str, ...]


def layers(model: Any) -> list[Layer]:
    """Every decoder layer of a causal LM.

    Raises:
        StageFailure: they are of another build; says which part.
    """
    read = trace.of(model).norms
    names = {id(module): name for name, module in model.named_modules()}
    return [_layer(model, names[id(each)], read) for each in matrices.layers(model)]


def _layer(model: Any, name: str, read: Mapping[str, Sequence[str]]) -> Layer:
    inside = model.get_submodule(name)
    found = {n.rpartition(".")[2]: m for n, m in inside.named_modules() if _is_linear(m)}
    if sorted(found) != sorted((*ATTENTION, *FEED_FORWARD)):
        raise _unfit(model, f"{name} has the matrices {several(sorted(found), 9)}")
    norms = {
        frozenset(r.rpartition(".")[2] for r in readers): norm
        for norm, readers in read.items()
        if norm.startswith(f"{name}.")
    }
    wanted = (frozenset(ATTENTION[:3]), frozenset(FEED_FORWARD[:2]))
    if set(norms) != set(wanted):
        raise _unfit(model, f"no norms of {name} are read by just q, k, v and just gate, up")
    first, second = (_norm(model, norms[who]) for who in wanted)
    head = int(getattr(inside.self_attn, "head_dim", 0))
    values, queries = found["v_proj"].out_features, found["o_proj"].in_features
    if not head or values % head or queries % values:
        raise _unfit(model, f"the heads of {name} cannot be told apart")
    width = found["q_proj"].in_features
    behind = tuple(
        f"{name}.{n}"
        for n, m in inside.named_modules()
        if f"{name}.{n}" not in norms.values() and _norm_width(m) == width
    )
    return Layer(
        before_attention=first,
        before_feed_forward=second,
        linear=found,
        head=head,
        group=queries // values,
        behind=behind,
    )


def final_norm(model: Any) -> Norm:
    """The norm between the last layer and the output head.

    Raises:
        StageFailure: there is none under the usual name.
    """
    decoder = matrices.decoder_of(model)
    names = [n for n, module in model.named_modules() if module is getattr(decoder, "norm", None)]
    if not names:
        raise _unfit(model, "its last norm is not called norm")
    return _norm(model, names[0])


def _norm(model: Any, name: str) -> Norm:
    """A norm with the form of its gain, found by trying it."""
    module = model.get_submodule(name)
    weight = _weight(module).detach()
    x = torch.linspace(-2, 3, len(weight), dtype=weight.dtype, device=weight.device)
    plain = x / x.square().mean().sqrt()
    with torch.no_grad():
        made = module(x.unsqueeze(0))[0]
    for offset in (0.0, 1.0):
        if torch.allclose(made, plain * (offset + weight), rtol=_CLOSE, atol=_CLOSE):
            return Norm(module=module, offset=offset)
    raise _unfit(model, f"{name} is no root-mean-square norm with a gain")


def put(parameter: torch.Tensor, value: torch.Tensor) -> None:
    """Gives a parameter another value, in its own precision."""
    with torch.no_grad():
        parameter.copy_(value)


def _weight(module: nn.Module) -> torch.Tensor:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


def _norm_width(module: nn.Module) -> int:
    weight = getattr(module, "weight", None)
    return len(weight) if isinstance(weight, torch.Tensor) and weight.ndim == 1 else 0


def _unfit(model: Any, reason: str) -> StageFailure:
    return StageFailure(
        f"{type(model).__name__} is not built like Llama: {reason}. Its basis cannot be changed; "
        "set rotate=none and rescale=none."
    )
