"""SparseGPT (Frantar and Alistarh, ICML 2023) for any N:M, as llm-compressor's modifier.

Equal to llm-compressor's own routine bit for bit wherever that one is right. It differs
where that one is wrong or silent: N:M groups never restart at a block, the last group
that a row cannot fill stays dense, and a Hessian that cannot be inverted is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from compressed_tensors.utils import update_offload_parameter
from llmcompressor.modifiers.pruning import SparseGPTModifier
from pydantic import PrivateAttr

from sweeper.methods._failures import Failures
from sweeper.methods._hessian import Hessians, inverse_factor

# (a column [rows], its index) -> the column on its grid
Rounding = Callable[[torch.Tensor, int], torch.Tensor]


def block_of(block_size: int, m: int) -> int:
    """The multiple of M nearest to ``block_size``, so that no group straddles two blocks."""
    return max(1, round(block_size / m)) * m


def sparsify(
    weight: torch.Tensor,
    factor: torch.Tensor,
    *,
    sparsity: float,
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
        sparsity: share to prune of each matrix in each block; ignored with ``nm``.
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
    for start in range(0, columns, block_size):
        stop = min(start + block_size, columns)
        # one row per column: what the loop touches together lies together
        work = weight[:, start:stop].t().contiguous()
        block = factor[start:stop, start:stop]
        if nm is None:
            mask = _least_salient(work, block.diagonal(), sparsity, matrices)
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
    work: torch.Tensor, diagonal: torch.Tensor, sparsity: float, matrices: list[int]
) -> torch.Tensor:
    """Mask [columns, rows] of the weights to prune, matrix by matrix."""
    masks = []
    for part in _saliency(work, diagonal).split(matrices, dim=1):
        threshold = part.flatten().kthvalue(int(part.numel() * sparsity) + 1).values
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


class ExactSparseGPT(SparseGPTModifier):  # type: ignore[misc]  # it is untyped
    """llm-compressor's SparseGPT with the routine above.

    Weights are rounded to ``save_dtype`` as soon as a layer is done, so that the layers
    after it are calibrated on what is saved.
    """

    save_dtype: str = "bfloat16"

    _sums: Hessians = PrivateAttr(default_factory=Hessians)

    def calibrate_module(
        self, module: torch.nn.Module, args: tuple[torch.Tensor, ...], _output: torch.Tensor
    ) -> None:
        """Forward hook: adds the inputs of a matrix to its Hessian."""
        self._sums.add(module, args[0])

    def compress_modules(self) -> None:
        """Prunes every matrix that was calibrated since the last call.

        Raises:
            StageFailure: a Hessian that cannot be inverted, or weights that blew up.
        """
        failures = Failures(knob="prune.dampening", value=self.dampening_frac)
        for modules, hessian in self._sums.take():
            # llm-compressor appends a dot
            names = [self._module_names[m].rstrip(".") for m in modules]
            with torch.no_grad(), failures.of(names):
                self._prune(modules, hessian)
        failures.raise_if_any()

    def _prune(self, modules: list[torch.nn.Module], hessian: torch.Tensor) -> None:
        factor, dead = inverse_factor(hessian, float(self.dampening_frac or 0.0))
        parts: list[Any] = [m.weight for m in modules]
        weight = torch.cat([p.float() for p in parts])
        weight[:, dead] = 0
        pruned = sparsify(
            weight,
            factor,
            sparsity=self._module_sparsities[modules[0]],
            nm=(self._prune_n, self._prune_m) if self._prune_n else None,
            block_size=self.block_size,
            matrices=[p.shape[0] for p in parts],
        ).to(getattr(torch, self.save_dtype))
        if not torch.isfinite(pruned).all():
            raise FloatingPointError
        for module, part in zip(modules, pruned.split([p.shape[0] for p in parts]), strict=True):
            update_offload_parameter(module, "weight", part.to(module.weight.dtype))
