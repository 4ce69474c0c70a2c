"""What rounding costs a matrix, before it is rounded: the error of its output, by bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from compressed_tensors.quantization.utils import calculate_qparams

from sweeper.methods import Params
from sweeper.methods._hessian import energy
from sweeper.methods._nearest import nearest, values
from sweeper.methods._uniform import weight_grid


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
        """See `sweeper.stages.sensitivity.Measure`."""
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
