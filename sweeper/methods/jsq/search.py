"""What an editing vector is worth: the loss of the model that is compressed with it.

One energy costs at most one calibration pass: layers before the first that is edited
otherwise than in the vector gone on from keep their outputs, and only the rest is compressed
anew and run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from sweeper.errors import StageFailure
from sweeper.methods.depth.protocol import Layers, States
from sweeper.methods.jsq.activation_clamp import edited
from sweeper.methods.jsq.annealing import Vector
from sweeper.methods.jsq.fake_quant import quantized
from sweeper.methods.jsq.saliency import ActivationRange

_HELD_BYTES = 2**30  # of hidden states between layers
_UNIT = 1000.0  # an energy is in thousandths of a nat per token


class CompressedLoss:
    """The landscape of editing vectors (Guo et al., ICML 2024, eq. 6).

    Args:
        chain: the dense model; it is dense again after each energy.
        pruner: scores and prunes; a matrix never sees it outside of `energy`.
        strengths: what a position of a vector can choose from.
        clamp: see `edited`.
        bits: of weights and inputs while the loss is taken; 16 is unquantized.
    """

    def __init__(
        self,
        chain: Layers,
        pruner: ActivationRange,
        *,
        strengths: Sequence[float],
        clamp: str,
        bits: int,
    ) -> None:
        self._chain, self._pruner = chain, pruner
        self._strengths, self._clamp, self._bits = strengths, clamp, bits
        states = chain.embedded()
        size = sum(each.numel() * each.element_size() for each in states)
        self._stride = -(-size * len(chain.layers) // _HELD_BYTES)
        # states before a layer: of the vector gone on from, and of the one tried last
        self._at: Vector = ()
        self._held: dict[int, States] = {0: states}
        self._tried: tuple[Vector, dict[int, States]] = ((), {})

    def energy(self, vector: Vector) -> float:
        """Loss of the compressed model on the samples, in thousandths of a nat per token.

        Raises:
            StageFailure: it is not finite.
        """
        same = next((i for i, v in enumerate(self._at) if v != vector[i]), len(self._at))
        start = max(index for index in self._held if index <= same)
        states, met = self._held[start], dict[int, States]()
        for index in range(start, len(self._chain.layers)):
            if index % self._stride == 0:
                met[index] = states
            states = self._after(index, self._strengths[vector[index]], states)
        self._tried = (vector, met)
        loss = self._chain.loss(states)
        if not math.isfinite(loss):
            raise StageFailure(
                "the loss of the compressed model is not finite. Compute with a wider range "
                "(model.compute_dtype=float32), prune less or raise prune.search_bits."
            )
        return _UNIT * loss

    def accepted(self, vector: Vector) -> None:
        """Keeps the states of ``vector``, if it is the one tried last."""
        tried, met = self._tried
        if vector == tried:
            before = {i: states for i, states in self._held.items() if i < min(met)}
            self._at, self._held = tried, before | met
            self._tried = ((), {})

    def _after(self, index: int, strength: float, states: States) -> States:
        """What layer ``index`` gives when it is compressed on ``states``."""
        matrices = _matrices(self._chain.layers[index])
        dense = {matrix: matrix.weight.detach().clone() for matrix in matrices}
        try:
            groups = self._calibrated(index, strength, states, matrices)
            self._pruner.compress_modules()
            with ExitStack() as stack:
                if self._bits < 16:
                    for modules, peaks in groups:
                        stack.enter_context(quantized(modules, peaks, self._bits))
                return self._chain.through(index, states)
        finally:
            for matrix, weight in dense.items():
                matrix.weight.data.copy_(weight)

    def _calibrated(
        self, index: int, strength: float, states: States, matrices: list[Any]
    ) -> list[tuple[list[Any], torch.Tensor]]:
        """Runs a layer under the pruner's eyes; (matrices that share an input, its peaks)."""
        self._pruner.watch({f"layer {index}.{i}": m for i, m in enumerate(matrices)})
        inputs = _Inputs(self._pruner, strength, self._clamp)
        with inputs.watching(matrices):
            self._chain.through(index, states)
        return inputs.groups()


class _Inputs:
    """Hands edited inputs to the pruner and keeps the largest of each column."""

    def __init__(self, pruner: ActivationRange, strength: float, clamp: str) -> None:
        self._pruner, self._strength, self._clamp = pruner, strength, clamp
        self._last: tuple[torch.Tensor, torch.Tensor, Any] | None = None
        self._owner: dict[Any, Any] = {}
        self._peaks: dict[Any, torch.Tensor] = {}

    @contextmanager
    def watching(self, matrices: Sequence[Any]) -> Iterator[None]:
        """Inside, what goes into ``matrices`` is seen."""
        handles = [matrix.register_forward_hook(self._seen) for matrix in matrices]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def groups(self) -> list[tuple[list[Any], torch.Tensor]]:
        """(matrices that share an input, [columns] of its largest magnitudes)."""
        members: dict[Any, list[Any]] = {}
        for module, owner in self._owner.items():
            members.setdefault(owner, []).append(module)
        return [(modules, self._peaks[owner]) for owner, modules in members.items()]

    def _seen(self, module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if self._last is None or self._last[0] is not args[0]:
            values = edited(args[0], self._strength, self._clamp)
            self._last = (args[0], values, module)
            peaks = values.abs().flatten(0, -2).amax(0).float()
            known = self._peaks.get(module)
            self._peaks[module] = peaks if known is None else torch.maximum(known, peaks)
        _, values, owner = self._last
        self._owner[module] = owner
        self._pruner.calibrate_module(module, (values,), output)


def _matrices(layer: torch.nn.Module) -> list[Any]:
    return [module for module in layer.modules() if isinstance(module, torch.nn.Linear)]
