"""What pruning costs a matrix, before it is pruned: the error of its output, by share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from compressed_tensors.quantization.utils import calculate_qparams

from sweeper.methods import Params
from sweeper.methods.dampening import factored
from sweeper.methods.hessian import Gram, Hessians, energy
from sweeper.methods.low_rank.input_norms import InputSizes, scaling
from sweeper.methods.low_rank.rank import ranks
from sweeper.methods.low_rank.svd import losses, whitening
from sweeper.methods.quantization.grids import weight_grid
from sweeper.methods.quantization.rtn_modifier import nearest, values


@dataclass(frozen=True, kw_only=True)
class PrunedError:
    """The shares 0, 1/levels, 2/levels ... of each row go, by the least score of Wanda."""

    levels: int
    _squares: dict[Any, torch.Tensor] = field(default_factory=dict)

    def listen(self, module: Any, inputs: torch.Tensor) -> None:
        """Adds the squares of the inputs, by column, which Wanda scores with."""
        rows = inputs.detach().reshape(-1, inputs.shape[-1]).float()
        self._squares[module] = self._squares.get(module, 0.0) + rows.square().sum(0)

    def of(self, module: Any, hessian: torch.Tensor) -> tuple[list[float], dict[str, Any]]:
        """See `sweeper.stages.sensitivity.stage.Measure`."""
        weight = module.weight.detach().float()
        scores = weight.abs() * self._squares.pop(module).sqrt()
        ranks = scores.argsort(dim=1, stable=True).argsort(dim=1)
        errors = []
        for level in range(self.levels):
            lost = weight * (ranks < round(weight.shape[1] * level / self.levels))
            errors.append(energy(lost, hessian))
        return errors, {}


@dataclass(frozen=True, kw_only=True)
class RoundedError:
    """Each width to the nearest point of its min-max grid, whatever quantizes afterwards.

    Attributes:
        params: ``widths``, and the grid: ``group_size``, ``symmetric``, ``save_dtype``.
    """

    params: Params

    def listen(self, module: Any, inputs: torch.Tensor) -> None:
        """Rounding to nearest looks at no inputs."""

    def of(self, module: Any, hessian: torch.Tensor) -> tuple[list[float], dict[str, Any]]:
        """See `sweeper.stages.sensitivity.stage.Measure`."""
        weight = module.weight.detach().float()
        errors = [energy(weight - self.rounded(weight, b), hessian) for b in self.params["widths"]]
        return errors, {}

    def rounded(self, weight: torch.Tensor, bits: int) -> torch.Tensor:
        """The weight, float32 [rows, columns], on the grid of so many bits."""
        args = weight_grid({**self.params, "bits": bits})
        groups = weight.unflatten(1, (-1, args.group_size or weight.shape[1]))
        scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
        scale = scale.to(getattr(torch, self.params["save_dtype"])).float()
        return values(nearest(weight, scale, zero, args), scale, zero)


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
        """See `sweeper.stages.sensitivity.stage.Measure`; with the ``shape`` of the matrix.

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
