"""What a lower rank costs a matrix, before it is factorized: the error of its output, by rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from sweeper.methods import Params
from sweeper.methods._dampening import factored
from sweeper.methods._hessian import Gram, Hessians
from sweeper.methods._input_sizes import InputSizes, scaling
from sweeper.methods._rank import ranks
from sweeper.methods._truncation import losses, whitening


@dataclass(frozen=True, kw_only=True)
class TruncatedError:
    """A matrix that stays whole, then the ranks that remove 1/levels, 2/levels ... of it.

    Attributes:
        params: ``levels``, and ``dampening`` (SVD-LLM's whitening) or ``alpha`` (ASVD's scaling).
        names: of the matrices, for messages.
    """

    params: Params
    names: Mapping[Any, str]
    _sizes: InputSizes = field(default_factory=InputSizes)
    _sums: Hessians = field(default_factory=lambda: Hessians(wide=True))
    _grams: dict[Any, Gram] = field(default_factory=dict)

    def listen(self, module: Any, inputs: torch.Tensor) -> None:
        """Adds up what the method scales by: sizes of the inputs (ASVD), or their Hessian."""
        if "alpha" in self.params:
            self._sizes.add(module, inputs)
        else:
            self._sums.add(module, inputs)

    def of(self, module: Any, hessian: torch.Tensor) -> tuple[list[float], dict[str, Any]]:
        """See `sweeper.stages.sensitivity.Measure`; with the ``shape`` of the matrix.

        Raises:
            NotPositiveDefinite: the inputs cannot be whitened.
        """
        weight = module.weight.detach().float()
        shape = (weight.shape[0], weight.shape[1])
        lost = losses(weight, self._scale(module), hessian).cumsum(0)
        kept = [min(rank, len(lost)) for rank in ranks(shape, self.params["levels"]) if rank]
        dropped = [float(lost[-rank - 1]) if rank < len(lost) else 0.0 for rank in kept]
        return [0.0, *dropped], {"shape": list(shape)}

    def _scale(self, module: Any) -> torch.Tensor:
        if "alpha" in self.params:
            return scaling(self._sizes.mean(module), self.params["alpha"])
        for modules, gram in self._sums.take():  # of a whole layer, with its first matrix
            self._grams.update(dict.fromkeys(modules, gram))
        gram, name = self._grams.pop(module), self.names[module]
        return factored(gram, self.params["dampening"], [name], whitening)
