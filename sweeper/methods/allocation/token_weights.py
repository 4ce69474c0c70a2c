"""How much each token counts in the errors that an allocation rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch


class Inputs(Protocol):
    """The inputs X of the errors ||X (W - W')^T||^2, made of those that a matrix is given.

    Attributes:
        relative: whether errors are shares of ||X W^T||^2; else they are half of the mean
            over the tokens.
    """

    relative: bool

    def of(self, module: Any, inputs: torch.Tensor) -> torch.Tensor:
        """One batch, [samples, length, columns]; a matrix is told each batch once, in order."""
        ...


class PlainInputs:
    """Inputs as they are."""

    relative = True

    def of(self, module: Any, inputs: torch.Tensor) -> torch.Tensor:
        """See `Inputs`."""
        return inputs


class UnitInputs:
    """Inputs at length 1, token by token; one tensor for all matrices that read the same.

    A few tokens of a language model have inputs hundreds of times longer than all others
    (massive activations: Sun et al., COLM 2024, arXiv 2402.17762). In a plain sum of squares
    they are all that counts.
    """

    relative = True

    def __init__(self) -> None:
        # the reference keeps the tensor alive, so that its identity means something
        self._last: tuple[torch.Tensor, torch.Tensor] | None = None

    def of(self, module: Any, inputs: torch.Tensor) -> torch.Tensor:
        """See `Inputs`; float32, a token of zeros stays one."""
        if self._last is None or self._last[0] is not inputs:
            rows = inputs.detach().float()
            length = rows.norm(dim=-1, keepdim=True)
            self._last = (inputs, rows / length.clamp_min(torch.finfo(rows.dtype).tiny))
        return self._last[1]


class FeltInputs:
    """Inputs as long as the loss feels them: errors are nats per token, and compare as they are.

    Args:
        weights: see `sweeper.stages.sensitivity.gradients.of_tokens`.
    """

    relative = False

    def __init__(self, weights: Mapping[Any, Sequence[torch.Tensor]]) -> None:
        self._left = {module: iter(batches) for module, batches in weights.items()}

    def of(self, module: Any, inputs: torch.Tensor) -> torch.Tensor:
        """See `Inputs`; float32."""
        return inputs.detach().float() * next(self._left[module]).sqrt().unsqueeze(-1)
