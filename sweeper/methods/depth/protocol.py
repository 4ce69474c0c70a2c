"""What methods that run single decoder layers need of `sweeper.modeling.layer_chain.Chain`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

States = list[torch.Tensor]


class Layers(Protocol):
    """A decoder as a chain of layers, and the samples that run through it."""

    @property
    def layers(self) -> Sequence[torch.nn.Module]:
        """The decoder layers."""
        ...

    def embedded(self) -> States:
        """What the first layer is given."""
        ...

    def through(self, index: int, states: States) -> States:
        """What a layer makes of it."""
        ...

    def loss(self, states: States) -> float:
        """Nats per token after the last layer."""
        ...
