"""Refines a quantized layer: sweeps over codes, between them the scales, with swaps the mask."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from sweeper.methods import Params, validation
from sweeper.methods.hessian import dampen
from sweeper.methods.quantization.rtn_modifier import Grid
from sweeper.methods.refinement import descent, options, scales, swaps
from sweeper.methods.refinement.descent import Fit


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """What is done to a quantized matrix.

    Attributes:
        sweeps: over its columns; 0: nothing is done.
        rescale: before each, scales are fitted to the codes.
        swaps: pruned and kept weights change places.
        pattern: (N, M) that swaps have to keep; None: the number of each row.
    """

    sweeps: int = 0
    rescale: bool = False
    swaps: bool = False
    pattern: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """A matrix on its grid.

    Attributes:
        weight: [rows, columns].
        grid: what it lies on.
        kept: boolean [rows, columns], false where pruned; None where nothing was.
    """

    weight: torch.Tensor
    grid: Grid
    kept: torch.Tensor | None = None


def of_params(params: Params) -> Refinement:
    """The refinement that the parameters of a quantize stage ask for."""
    pattern = validation.nm(params["pattern"]) if options.SWAPS in params else None
    return Refinement(
        sweeps=params.get(options.REFINE, 0),
        rescale=params.get(options.RESCALE, False),
        swaps=params.get(options.SWAPS, False),
        pattern=pattern,
    )


def refined(
    found: Quantized,
    target: torch.Tensor,
    hessian: torch.Tensor,
    dampening: float,
    how: Refinement,
    saved: torch.dtype,
) -> Quantized:
    """A matrix whose output is at least as near to that of ``target``.

    It ends with a sweep, so the codes are the best ones on the scales that are saved, one column
    at a time.

    Args:
        found: where to begin, on its grid.
        target: [rows, columns], what it stands for.
        hessian: [columns, columns]; overwritten.
        dampening: share of the mean diagonal that is added to the diagonal.
        how: what is done.
        saved: the type of saved scales.
    """
    dead = dampen(hessian, dampening)
    values, wanted = (w.t().contiguous() for w in (found.weight, target))
    wanted[dead] = 0  # as GPTQ has it: what is never read is stored as 0
    low, high = found.grid.ends
    zero = found.grid.zero.to(values.dtype).t().contiguous()
    fit = Fit(
        values=values,
        target=wanted,
        error=values - wanted,
        hessian=hessian,
        pruned=None if found.kept is None else (~found.kept).t().contiguous(),
        scale=found.grid.scale.t().contiguous(),
        zero=zero if zero.any() else None,
        low=low,
        high=high,
    )
    for _ in range(how.sweeps):
        if how.rescale:
            scales.rescale(fit, saved)
        if how.swaps:
            swaps.sweep(fit, how.pattern)
        else:
            descent.sweep(fit)
    return Quantized(
        weight=fit.values.t().contiguous(),
        grid=replace(found.grid, scale=fit.scale.t().contiguous()),
        kept=None if fit.pruned is None else (~fit.pruned).t().contiguous(),
    )
