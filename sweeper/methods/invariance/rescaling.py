"""Random rescaling of channels: other weights, the same function.

A factor that one tensor is multiplied by, the next is divided by: the gain of a norm against the
matrices that read it, v against o, up against down. Weights that lay on a grid (a model that was
4 bit once) leave it; which channels have outliers stays as it was, by a factor of at most
``spread``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from sweeper.methods.invariance import structure


def rescale(model: Any, *, seed: int, spread: float) -> None:
    """Rescale the channels of every decoder layer, in place.

    Args:
        model: a causal LM built like Llama, or like Gemma 2 or 3.
        seed: decides the factors.
        spread: they are between 1 / spread and spread, even on a logarithmic scale.

    Raises:
        StageFailure: it is built otherwise.
    """
    draws = torch.Generator().manual_seed(seed)

    def factors(count: int, like: torch.Tensor) -> torch.Tensor:
        even = 2 * torch.rand(count, generator=draws, dtype=torch.float64) - 1
        return torch.exp(even * math.log(spread)).to(like.device)

    for layer in structure.layers(model):
        own = layer.linear
        for norm, readers in (
            (layer.before_attention, ("q_proj", "k_proj", "v_proj")),
            (layer.before_feed_forward, ("gate_proj", "up_proj")),
        ):
            by = factors(own[readers[0]].in_features, own[readers[0]].weight)
            norm.become(norm.gain * by)
            _divide_columns((own[name] for name in readers), by)
        by = factors(own["v_proj"].out_features, own["v_proj"].weight)
        _multiply_rows(own["v_proj"], by)
        heads = by.view(-1, layer.head).repeat_interleave(layer.group, 0)
        _divide_columns([own["o_proj"]], heads.flatten())
        by = factors(own["up_proj"].out_features, own["up_proj"].weight)
        _multiply_rows(own["up_proj"], by)
        _divide_columns([own["down_proj"]], by)


def _multiply_rows(linear: nn.Linear, by: torch.Tensor) -> None:
    structure.put(linear.weight, linear.weight.double() * by[:, None])
    if linear.bias is not None:
        structure.put(linear.bias, linear.bias.double() * by)


def _divide_columns(linears: Iterable[nn.Linear], by: torch.Tensor) -> None:
    for linear in linears:
        structure.put(linear.weight, linear.weight.double() / by)
