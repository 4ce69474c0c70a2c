"""SparseGPT (Frantar and Alistarh, ICML 2023) for any N:M, as llm-compressor's modifier.

Equal to llm-compressor's own routine bit for bit wherever that one is right. It differs
where that one is wrong or silent: N:M groups never restart at a block, the last group
that a row cannot fill stays dense, and a Hessian that cannot be inverted is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from compressed_tensors.utils import update_offload_parameter
from llmcompressor.modifiers.pruning import SparseGPTModifier

from sweeper.methods.hessian import dampen, inverse_factor
from sweeper.methods.hessian_modifier import OnHessians, stacked
from sweeper.methods.pruning.base import Profiled
from sweeper.methods.refinement.refit import refit

# (a column [rows], its index) -> the column on its grid
Rounding = Callable[[torch.Tensor, int], torch.Tensor]


def block_of(block_size: int, m: int) -> int:
    """The multiple of M nearest to ``block_size``, so that no group straddles two blocks."""
    return max(1, round(block_size / m)) * m


def sparsify(
    weight: torch.Tensor,
    factor: torch.Tensor,
    *,
    sparsity: float | Sequence[float],
    nm: tuple[int, int] | None,
    block_size: int,
    matrices: list[int],
    kept: torch.Tensor | None = None,
    rounded: Rounding | None = None,
) -> torch.Tensor:
    """Prunes rows that share a Hessian and updates what remains.

    Args:
        weight: [rows, columns], float32; overwritten.
        factor: [columns, columns], upper Cholesky factor of the inverse Hessian.
        sparsity: share to prune of each matrix in each block, for all or one for each;
            ignored with ``nm``.
        nm: prune N of every M neighbours in a row.
        block_size: columns per lazy update; a multiple of M.
        matrices: rows of each matrix stacked in ``weight``; thresholds are per matrix.
        kept: boolean [rows, columns], filled in: what was not pruned.
        rounded: quantizes a column; what remains is then rounded as it is passed, and the
            columns after it make up for both errors at once (SparseGPT, section 3.5).

    Returns:
        The pruned weight. Columns beyond the last complete group of M stay dense.
    """
    columns = weight.shape[1]
    shares = [sparsity] * len(matrices) if isinstance(sparsity, float) else sparsity
    for start in range(0, columns, block_size):
        stop = min(start + block_size, columns)
        # one row per column: what the loop touches together lies together
        work = weight[:, start:stop].t().contiguous()
        block = factor[start:stop, start:stop]
        if nm is None:
            mask = _least_salient(work, block.diagonal(), shares, matrices)
        else:
            mask = torch.zeros_like(work, dtype=torch.bool)
        at_column = None if rounded is None else partial(_shifted, rounded, start)
        errors = _prune_block(work, block, mask, nm, at_column)
        if kept is not None:
            kept[:, start:stop] = ~mask.t()
        weight[:, start:stop] = work.t()
        weight[:, stop:] -= errors.t().contiguous().matmul(factor[start:stop, stop:])
    return weight


def _shifted(rounded: Rounding, start: int, column: torch.Tensor, index: int) -> torch.Tensor:
    return rounded(column, start + index)


def _saliency(work: torch.Tensor, diagonal: torch.Tensor) -> torch.Tensor:
    """w^2 / [H^-1]_jj, the loss of removing a weight (SparseGPT, eq. 3); [columns, rows]."""
    return work**2 / diagonal.reshape(-1, 1) ** 2


def _least_salient(
    work: torch.Tensor, diagonal: torch.Tensor, shares: Sequence[float], matrices: list[int]
) -> torch.Tensor:
    """Mask [columns, rows] of the weights to prune, matrix by matrix."""
    masks = []
    parts = _saliency(work, diagonal).split(matrices, dim=1)
    for part, share in zip(parts, shares, strict=True):
        if share == 0:
            masks.append(torch.zeros_like(part, dtype=torch.bool))
            continue
        threshold = part.flatten().kthvalue(int(part.numel() * share) + 1).values
        masks.append(part <= threshold)
    return torch.cat(masks, dim=1)


def _prune_block(
    work: torch.Tensor,
    block: torch.Tensor,
    mask: torch.Tensor,
    nm: tuple[int, int] | None,
    rounded: Rounding | None,
) -> torch.Tensor:
    """The column loop of one block; ``work`` and ``mask`` are filled in, the errors returned."""
    width, diagonal = work.shape[0], block.diagonal()
    errors, buffer = torch.empty_like(work), torch.empty_like(work)
    for i in range(width):
        if nm is not None and i % nm[1] == 0 and i + nm[1] <= width:
            group = slice(i, i + nm[1])
            least = _saliency(work[group], diagonal[group]).topk(nm[0], dim=0, largest=False)
            mask[group].scatter_(0, least.indices, True)
        column, error = work[i], errors[i]
        remaining = column if rounded is None else rounded(column, i)
        pruned = remaining.masked_fill(mask[i], 0.0)
        torch.sub(column, pruned, out=error).div_(diagonal[i])
        column.copy_(pruned)
        if i + 1 < width:
            torch.mul(block[i, i + 1 :].unsqueeze(1), error, out=buffer[i + 1 :])
            work[i + 1 :] -= buffer[i + 1 :]
    return errors


class ExactSparseGPT(OnHessians, Profiled, SparseGPTModifier):  # type: ignore[misc]  # untyped
    """llm-compressor's SparseGPT with the routine above.

    Weights are rounded to ``save_dtype`` as soon as a layer is done, so that the layers
    after it are calibrated on what is saved.

    Attributes:
        refine: steps by which the kept weights are then refitted on their support.
    """

    knob: ClassVar[str] = "prune.dampening"
    refine: int = 0

    def treat(self, modules: list[Any], hessian: torch.Tensor, dampening: float) -> None:
        """Prunes matrices that share a Hessian as one matrix with more rows."""
        whole = hessian.clone() if self.refine else hessian  # it is overwritten
        factor, dead = inverse_factor(hessian, dampening)
        weight, rows = stacked(modules)
        weight[:, dead] = 0
        target = weight.clone() if self.refine else weight
        kept = torch.ones_like(weight, dtype=torch.bool)
        pruned = sparsify(
            weight,
            factor,
            sparsity=[self._module_sparsities[m] for m in modules],
            nm=(self._prune_n, self._prune_m) if self._prune_n else None,
            block_size=self.block_size,
            matrices=rows,
            kept=kept,
        )
        if self.refine:
            dampen(whole, dampening)
            pruned = refit(pruned, target, kept, whole, self.refine)
        pruned = pruned.to(getattr(torch, self.save_dtype))
        if not torch.isfinite(pruned).all():
            raise FloatingPointError
        for module, part in zip(modules, pruned.split(rows), strict=True):
            update_offload_parameter(module, "weight", part.to(module.weight.dtype))
