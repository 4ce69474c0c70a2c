"""What SparseGPT, GPTQ and the joint pass share: matrices are treated once per Hessian."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from llmcompressor.modifiers import Modifier
from pydantic import PrivateAttr

from sweeper.methods import layer_errors
from sweeper.methods.dampening import factored
from sweeper.methods.failures import Failures
from sweeper.methods.hessian import Gram, Hessians


class OnHessians(Modifier):  # type: ignore[misc]  # llm-compressor is untyped
    """Sums Hessians while a decoder layer is calibrated, then treats its matrices in groups.

    A subclass mixes it into one of llm-compressor's modifiers, which registers the hooks.

    Attributes:
        knob: the configuration key of the dampening, for messages.
    """

    knob: ClassVar[str]
    save_dtype: str = "bfloat16"

    _sums: Hessians = PrivateAttr(default_factory=Hessians)

    @abstractmethod
    def treat(
        self, modules: list[torch.nn.Module], hessian: torch.Tensor, dampening: float
    ) -> None:
        """Replaces the weights of matrices that share a Hessian.

        Args:
            modules: the matrices.
            hessian: [columns, columns]; overwritten.
            dampening: share of its mean diagonal that is added to the diagonal.

        Raises:
            NotPositiveDefinite: the Hessian cannot be inverted; no weight was replaced.
            FloatingPointError: the new weights are not finite.
        """

    def calibrate_module(
        self, module: torch.nn.Module, args: tuple[torch.Tensor, ...], _output: torch.Tensor
    ) -> None:
        """Forward hook: adds the inputs of a matrix to its Hessian."""
        self._sums.add(module, args[0])

    def groups(self) -> Iterator[tuple[list[Any], Gram]]:
        """(matrices, the sum of the inputs that they share), each once."""
        return self._sums.take()

    def compress_modules(self) -> None:
        """Treats every matrix that was calibrated since the last call.

        Raises:
            StageFailure: a Hessian that cannot be inverted, or weights that blew up.
        """
        failures = Failures(knob=self.knob, value=self.dampening_frac)
        for modules, gram in self.groups():
            # llm-compressor appends a dot to the names of pruned matrices
            names = [self._module_names[m].rstrip(".") for m in modules]
            with torch.no_grad(), failures.of(names), _watched(names, modules, gram.matrix):
                factored(
                    gram, float(self.dampening_frac or 0.0), names, partial(self.treat, modules)
                )
        failures.raise_if_any()


@contextmanager
def _watched(names: list[str], modules: list[Any], hessian: torch.Tensor) -> Iterator[None]:
    """Inside, weights are replaced and the Hessian overwritten; how far they went is recorded."""
    if not layer_errors.wanted():
        yield
        return
    whole, before = hessian.clone(), [module.weight.clone() for module in modules]
    yield
    layer_errors.record(names, before, [module.weight for module in modules], whole)


def stacked(modules: list[Any]) -> tuple[torch.Tensor, list[int]]:
    """The weights of matrices as one, float32 [rows, columns], and the rows of each."""
    weights = [m.weight for m in modules]
    return torch.cat([w.float() for w in weights]), [w.shape[0] for w in weights]
