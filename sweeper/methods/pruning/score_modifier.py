"""Pruning by a score per weight and nothing else: the least are set to zero, the rest stays.

The part that magnitude pruning and Wanda share, as llm-compressor modifiers. How many
weights go is exact: ties, which abound in bfloat16, are broken by position.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from compressed_tensors.utils import update_offload_parameter
from llmcompressor.core import Event, State
from pydantic import PrivateAttr

from sweeper.errors import StageFailure
from sweeper.methods.failures import Failures
from sweeper.methods.hessian import Hessians, dampen
from sweeper.methods.hessian_modifier import stacked
from sweeper.methods.pruning.base import Profiled
from sweeper.methods.refinement.refit import refit

NM = tuple[int, int]


def least_of_groups(score: torch.Tensor, nm: NM) -> torch.Tensor:
    """The N least of every M neighbours in a row; an incomplete last group is left out.

    Args:
        score: [rows, columns].
        nm: (N, M).

    Returns:
        Boolean [rows, columns], true where to prune.
    """
    n, m = nm
    rows, columns = score.shape
    complete = columns - columns % m
    groups = score[:, :complete].reshape(rows, -1, m)
    mask = torch.zeros_like(groups, dtype=torch.bool)
    mask.scatter_(-1, groups.argsort(dim=-1, stable=True)[..., :n], True)
    return torch.nn.functional.pad(mask.reshape(rows, complete), (0, columns - complete))


def least_of_rows(score: torch.Tensor, sparsity: float) -> torch.Tensor:
    """The least of every row, so that the matrix as a whole has the share that is asked for.

    Where ``sparsity`` x columns is no integer, rows differ by one weight at most. Arguments
    and result as in `least_of_groups`.
    """
    rows, columns = score.shape
    # rounded before flooring: 0.3 x 10 is not to become 2
    ends = torch.arange(rows + 1, dtype=torch.float64).mul_(columns * sparsity).add_(1e-6).floor()
    counts = ends.diff().to(score.device, torch.int64).unsqueeze(1)
    order = score.argsort(dim=1, stable=True)
    chosen = torch.arange(columns, device=score.device) < counts
    return torch.zeros_like(score, dtype=torch.bool).scatter_(1, order, chosen)


def least(score: torch.Tensor, sparsity: float) -> torch.Tensor:
    """The least of the whole matrix. Arguments and result as in `least_of_groups`."""
    count = round(score.numel() * sparsity)
    flat = score.flatten()
    if count == 0:
        return torch.zeros_like(score, dtype=torch.bool)
    threshold = flat.kthvalue(count).values
    mask = flat < threshold
    tied = (flat == threshold).nonzero().flatten()
    mask[tied[: count - int(mask.sum())]] = True
    return mask.reshape(score.shape)


class ScorePruning(Profiled):
    """Prunes each matrix by `score` when its decoder layer is done.

    With ``refine`` the weights that stay are then refitted to the output of those that were, in so
    many steps, matrices that share a Hessian at once.

    ``sparsity`` and ``mask_structure`` are llm-compressor's. Weights are rounded to
    ``save_dtype``, so that the layers after it are calibrated on what is saved. A matrix that
    is quantized already is left ``kept``, its mask: zeros alone do not tell what was pruned.
    """

    by_row: bool
    save_dtype: str = "bfloat16"
    refine: int = 0
    dampening: float = 0.0

    _sums: Hessians = PrivateAttr(default_factory=Hessians)

    @abstractmethod
    def score(self, module: Any) -> torch.Tensor:
        """What each weight is worth, float32 [rows, columns]; asked once."""

    def calibrate_module(
        self, module: torch.nn.Module, args: tuple[torch.Tensor, ...], _output: torch.Tensor
    ) -> None:
        """Forward hook: the inputs of a matrix, for its score and its refit."""
        self.listen(module, args[0])
        if self.refine:
            self._sums.add(module, args[0])

    def listen(self, module: torch.nn.Module, inputs: torch.Tensor) -> None:
        """Takes nothing in, unless a subclass does; ``inputs`` are [..., columns]."""

    def compress_modules(self) -> None:
        """Prunes all matrices at once (llm-compressor's interface)."""
        for module in self._module_names:
            self._prune(module)

    def on_sequential_epoch_end(
        self, state: State, event: Event, modules: list[torch.nn.Module], **kwargs: Any
    ) -> None:
        """Prunes the matrices of a decoder layer, and refits what stays.

        Raises:
            StageFailure: refitted weights are not finite.
        """
        left = [module for module in modules if module in self._module_names]
        failures = Failures(knob="prune.dampening", value=self.dampening)
        for group, gram in self._sums.take():
            left = [module for module in left if module not in group]
            names = [self._module_names[m].rstrip(".") for m in group]
            with torch.no_grad(), failures.of(names):
                self._refit(group, gram.matrix)
        for module in left:  # all, without a refit; else those that read nothing
            self._prune(module)
        failures.raise_if_any()

    def _refit(self, modules: list[Any], hessian: torch.Tensor) -> None:
        target, rows = stacked(modules)
        kept = torch.cat([self._prune(module) for module in modules])
        dampen(hessian, self.dampening)
        found = refit(target * kept, target, kept, hessian, self.refine)
        if not torch.isfinite(found).all():
            raise FloatingPointError
        saved = found.to(getattr(torch, self.save_dtype))
        for module, part in zip(modules, saved.split(rows), strict=True):
            update_offload_parameter(module, "weight", part.to(module.weight.dtype))

    def on_finalize(self, state: State, **kwargs: Any) -> bool:
        """Nothing is left to do."""
        return True

    def _prune(self, module: Any) -> torch.Tensor:
        """Prunes a matrix; boolean [rows, columns], what is kept."""
        with torch.no_grad():
            score = self.score(module)
            if self._prune_n:
                mask = least_of_groups(score, (self._prune_n, self._prune_m))
            elif self.by_row:
                mask = least_of_rows(score, float(self._module_sparsities[module]))
            else:
                mask = least(score, float(self._module_sparsities[module]))
            if hasattr(module, "quantization_scheme"):
                module.kept = ~mask
            pruned = module.weight.masked_fill(mask, 0).to(getattr(torch, self.save_dtype))
            update_offload_parameter(module, "weight", pruned.to(module.weight.dtype))
        return ~mask


class Magnitude(ScorePruning):
    """Scores |w|; compared within the whole matrix."""

    requires_calibration_data: bool = False
    by_row: bool = False

    def score(self, module: Any) -> torch.Tensor:
        """See `ScorePruning`."""
        absolute: torch.Tensor = module.weight.float().abs()
        return absolute


class Wanda(ScorePruning):
    """Scores |w_ij| ||x_j||_2 (Wanda, eq. 1); compared within each row."""

    by_row: bool = True

    _squares: dict[torch.nn.Module, torch.Tensor] = PrivateAttr(default_factory=dict)

    def listen(self, module: torch.nn.Module, inputs: torch.Tensor) -> None:
        """Adds the squares of the inputs, by column."""
        rows = inputs.detach().reshape(-1, inputs.shape[-1]).float()
        added = rows.square().sum(0)
        known = self._squares.get(module)
        self._squares[module] = added if known is None else known.add_(added)

    def score(self, module: Any) -> torch.Tensor:
        """See `ScorePruning`.

        Raises:
            StageFailure: an input was not finite.
        """
        norm = self._squares.pop(module).sqrt_()
        if not torch.isfinite(norm).all():
            name = self._module_names[module].rstrip(".")  # llm-compressor appends one
            raise StageFailure(
                f"the calibration inputs of {name} are not finite. "
                "Compute with a wider range: model.compute_dtype=float32 or bfloat16."
            )
        found: torch.Tensor = module.weight.float().abs() * norm
        return found
