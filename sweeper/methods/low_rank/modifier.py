"""Low rank as llm-compressor modifiers: two smaller matrices take the place of each one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from llmcompressor.core import Event, State
from llmcompressor.modifiers.pruning.sparsegpt.sgpt_base import SparsityModifierBase
from pydantic import PrivateAttr

from sweeper.errors import StageFailure
from sweeper.methods.dampening import factored
from sweeper.methods.failures import Failures
from sweeper.methods.hessian import Gram, Hessians
from sweeper.methods.low_rank.input_norms import InputSizes, scaling
from sweeper.methods.low_rank.rank import rank_of
from sweeper.methods.low_rank.svd import Factors, truncated, whitening

NO_FACTOR = "the Gram matrix of the inputs is not positive definite"


class LowRankModifier(SparsityModifierBase):  # type: ignore[misc]  # it is untyped
    """Replaces the matrices of a decoder layer by factors when the layer was calibrated.

    The factors are rounded to ``save_dtype`` at once, so that the layers after it are
    calibrated on what is saved.

    Attributes:
        sparsities: name of a matrix -> share of its parameters that goes; 0: it stays whole.
    """

    sparsities: dict[str, float]
    dampening: float = 0.0
    sparsity: float | None = None
    ignore: list[str]
    save_dtype: str = "bfloat16"

    @abstractmethod
    def sums(self) -> Iterator[tuple[list[torch.nn.Module], Any]]:
        """Yields (matrices that share an input, what was summed over it) and forgets it."""

    @abstractmethod
    def scale(self, summed: Any, names: list[str]) -> torch.Tensor:
        """What the columns of these matrices are multiplied with, see `truncated`."""

    def compress_modules(self) -> None:
        """Factorizes every matrix that was calibrated since the last call (see `oneshot`)."""
        raise AssertionError("matrices are replaced decoder layer by decoder layer")

    def on_sequential_epoch_end(
        self, state: State, event: Event, modules: list[torch.nn.Module], **kwargs: Any
    ) -> None:
        """Factorizes the matrices of a decoder layer.

        Raises:
            StageFailure: an input's Gram matrix has no Cholesky factor, or weights blew up.
        """
        failures = Failures(knob="prune.dampening", value=self.dampening, wrong=NO_FACTOR)
        for matrices, summed in self.sums():
            # llm-compressor appends a dot
            names = [self._module_names[module].rstrip(".") for module in matrices]
            with torch.no_grad(), failures.of(names):
                scale = self.scale(summed, names)
                for name, module in zip(names, matrices, strict=True):
                    if share := self.sparsities[name]:
                        state.model.set_submodule(name, self._factors(module, scale, share))
        failures.raise_if_any()

    def on_finalize(self, state: State, **kwargs: Any) -> bool:
        """Nothing is left to do."""
        return True

    def _factors(
        self, module: torch.nn.Linear, scale: torch.Tensor, share: float
    ) -> torch.nn.Sequential:
        weight = module.weight
        rank = rank_of(weight.shape[0], weight.shape[1], share)
        found = truncated(weight, scale, rank)
        return sequence(module, found, getattr(torch, self.save_dtype))


def sequence(module: torch.nn.Linear, found: Factors, dtype: torch.dtype) -> torch.nn.Sequential:
    """The two linear layers that stand for ``module``; the bias goes to the second.

    Raises:
        FloatingPointError: a factor is not finite in ``dtype``.
    """
    weight = module.weight
    inner = torch.nn.Linear(weight.shape[1], len(found.inner), bias=False, device="meta")
    outer = torch.nn.Linear(len(found.inner), weight.shape[0], bias=False, device="meta")
    for part, values in ((inner, found.inner), (outer, found.outer)):
        rounded = values.to(dtype)
        if not torch.isfinite(rounded).all():
            raise FloatingPointError
        part.weight = torch.nn.Parameter(rounded.to(weight.dtype), requires_grad=False)
    outer.bias = module.bias
    return torch.nn.Sequential(inner, outer)


class Whitened(LowRankModifier):
    """SVD-LLM: the inputs are whitened by the Cholesky factor of their Gram matrix."""

    _sums: Hessians = PrivateAttr(default_factory=lambda: Hessians(wide=True))

    def calibrate_module(
        self, module: torch.nn.Module, args: tuple[torch.Tensor, ...], _output: torch.Tensor
    ) -> None:
        """Forward hook: adds the inputs of a matrix to its Gram matrix."""
        self._sums.add(module, args[0])

    def sums(self) -> Iterator[tuple[list[torch.nn.Module], Gram]]:
        """See `LowRankModifier`."""
        return self._sums.take()

    def scale(self, summed: Gram, names: list[str]) -> torch.Tensor:
        """See `LowRankModifier`."""
        return factored(summed, self.dampening, names, whitening)


class Scaled(LowRankModifier):
    """ASVD: column j is multiplied by (mean |x_j|)^alpha (arXiv 2312.05821, section 3.2)."""

    alpha: float

    _sizes: InputSizes = PrivateAttr(default_factory=InputSizes)

    def calibrate_module(
        self, module: torch.nn.Module, args: tuple[torch.Tensor, ...], _output: torch.Tensor
    ) -> None:
        """Forward hook: adds the sizes of the inputs, by column."""
        self._sizes.add(module, args[0])

    def sums(self) -> Iterator[tuple[list[torch.nn.Module], torch.Tensor]]:
        """See `LowRankModifier`."""
        for module, mean in self._sizes.take():
            yield [module], mean

    def scale(self, summed: torch.Tensor, names: list[str]) -> torch.Tensor:
        """See `LowRankModifier`.

        Raises:
            StageFailure: an input was not finite, or none was active.
        """
        if not torch.isfinite(summed).all() or not summed.any():
            raise StageFailure(
                f"the calibration inputs of {', '.join(names)} are not finite, or all are 0. "
                "Compute with a wider range: model.compute_dtype=float32 or bfloat16."
            )
        return scaling(summed, self.alpha)
