"""Pruning and quantization in one optimal-brain-surgeon pass, as llm-compressor's modifier.

SparseGPT's column loop (Frantar and Alistarh, ICML 2023, section 3.5) with the weights that
remain rounded as the loop passes them: the error of pruning and the error of rounding reach
the later columns together, and the mask of a block is chosen on weights that already make
up for the rounding before it.
"""

from __future__ import annotations

from typing import Any

import torch

from sweeper.methods.hessian import inverse_factor
from sweeper.methods.pruning.sparsegpt_modifier import Rounding, block_of, sparsify
from sweeper.methods.quantization.gptq_modifier import MaskedGPTQ
from sweeper.methods.quantization.rtn_modifier import Grid
from sweeper.methods.refinement.refine import Quantized


class JointOBS(MaskedGPTQ):
    """Prunes and quantizes each matrix from its dense weights; leaves the mask on the module.

    The attribute ``kept`` of every treated matrix is a boolean [rows, columns], since zeros
    alone do not tell a pruned weight from one that was rounded to zero.
    """

    sparsities: dict[str, float]
    pattern: tuple[int, int] | None

    def _solve(
        self,
        modules: list[Any],
        weight: torch.Tensor,
        hessian: torch.Tensor,
        grid: Grid,
        dampening: float,
    ) -> Quantized:
        rows = [m.weight.shape[0] for m in modules]
        factor, dead = inverse_factor(hessian, dampening)
        weight[:, dead] = 0
        kept = torch.ones_like(weight, dtype=torch.bool)
        found = sparsify(
            weight,
            factor,
            sparsity=[self.sparsities[self._module_names[m]] for m in modules],
            nm=self.pattern,
            block_size=block_of(self.block_size, self.pattern[1] if self.pattern else 1),
            matrices=rows,
            kept=kept,
            rounded=by_column(grid, weight.shape[1]),
        )
        return Quantized(weight=found, grid=grid, kept=kept)

    def _replace(self, modules: list[Any], found: Quantized) -> None:
        super()._replace(modules, found)
        assert found.kept is not None
        rows = [module.weight.shape[0] for module in modules]
        for module, mask in zip(modules, found.kept.split(rows), strict=True):
            module.kept = mask


def by_column(grid: Grid, columns: int) -> Rounding:
    """Rounds a column of a matrix of so many columns to the grid of its group."""
    size = columns // grid.scale.shape[1]
    low, high = grid.ends
    scales, zeros = grid.scale.t().contiguous(), grid.zero.t().float().contiguous()

    def rounded(column: torch.Tensor, index: int) -> torch.Tensor:
        s, z = scales[index // size], zeros[index // size]
        return ((column / s + z).clamp_(low, high).round_() - z) * s

    return rounded
