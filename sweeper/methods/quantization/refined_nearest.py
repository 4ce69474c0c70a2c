"""Rounding to nearest whose codes are then refined: the grids of `rtn` and `awq`, other codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from sweeper.methods.hessian import Gram
from sweeper.methods.quantization.gptq_modifier import MaskedGPTQ
from sweeper.methods.quantization.rtn_modifier import Grid, nearest, values
from sweeper.methods.refinement.refine import Quantized

SCALED = "scaled_columns"
"""Set on a matrix whose columns were scaled up, and its inputs down, after they were seen: by
how much, [columns]."""


class RefinedNearest(MaskedGPTQ):
    """`Nearest` with Hessians of the inputs, for the sweeps that follow.

    The Hessian is that of the inputs as they were seen. Where AWQ has scaled them since, by 1 / s,
    that of the scaled ones is H_ij / (s_i s_j).
    """

    def groups(self) -> Iterator[tuple[list[Any], Gram]]:
        """See `OnHessians`; matrices that read the same inputs may have scaled them differently."""
        for modules, gram in super().groups():
            alike: list[tuple[torch.Tensor | None, list[Any]]] = []
            for module in modules:
                scaled = module.__dict__.pop(SCALED, None)
                same = next((group for s, group in alike if _equal(s, scaled)), None)
                if same is None:
                    alike.append((scaled, [module]))
                else:
                    same.append(module)
            for scaled, group in alike:
                yield group, gram._replace(matrix=_scaled(gram.matrix, scaled))

    def _solve(
        self,
        modules: list[Any],
        weight: torch.Tensor,
        hessian: torch.Tensor,
        grid: Grid,
        dampening: float,
    ) -> Quantized:
        kept = weight != 0 if self.keep_zeros else None
        found = values(nearest(weight, grid.scale, grid.zero, grid.args), grid.scale, grid.zero)
        return Quantized(weight=found, grid=grid, kept=kept)

    def _replace(self, modules: list[Any], found: Quantized) -> None:
        for module in modules:
            served = module.weight_scale.dtype
            if module.weight.dtype != served:  # AWQ has left an exact product in a wider type
                module.weight = torch.nn.Parameter(module.weight.to(served), requires_grad=False)
        super()._replace(modules, found)


def _equal(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(torch.equal(one, other))


def _scaled(hessian: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """The Hessian of inputs divided by ``scale``, as a matrix of its own."""
    if scale is None:
        return hessian.clone()
    by = scale.to(hessian)
    return hessian / by.unsqueeze(0) / by.unsqueeze(1)
