"""Saliency with activation range (Guo et al., ICML 2024, eq. 4), as llm-compressor's modifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, PrivateAttr

from sweeper.methods.jsq.activation_clamp import edited
from sweeper.methods.jsq.activation_range import OutputRanges
from sweeper.methods.pruning.score_modifier import Wanda


class ActivationRange(Wanda):
    """Scores S = I + lambda A on edited inputs; compared within each row, as Wanda.

    I is Wanda's score and A the range of the output without the weight, over all
    calibration tokens. With ``range_weight`` 0 and no editing it is Wanda, bit for bit.
    ``strengths`` has the editing strength of each matrix by name; others are not edited.
    """

    range_weight: float = 2.0
    strengths: Mapping[str, float] = Field(default_factory=dict)
    clamp: str = "range"

    _ranges: dict[torch.nn.Module, OutputRanges] = PrivateAttr(default_factory=dict)

    def calibrate_module(
        self, module: torch.nn.Module, args: tuple[torch.Tensor, ...], _output: torch.Tensor
    ) -> None:
        """Forward hook: adds the edited inputs to norms and ranges."""
        name = self._module_names[module].rstrip(".")  # llm-compressor appends one
        inputs = edited(args[0].detach(), self.strengths.get(name, 0.0), self.clamp)
        super().calibrate_module(module, (inputs,), _output)
        if self.range_weight:
            if module not in self._ranges:
                weight: Any = module.weight
                self._ranges[module] = OutputRanges(weight.detach().float())
            self._ranges[module].add(inputs.reshape(-1, inputs.shape[-1]).float())

    def watch(self, matrices: Mapping[str, torch.nn.Module]) -> None:
        """Treats these matrices and no others, without a session of llm-compressor."""
        self._module_names = {module: name for name, module in matrices.items()}
        self._module_sparsities = dict.fromkeys(matrices.values(), self.sparsity)

    def score(self, module: Any) -> torch.Tensor:
        """See `ScorePruning`.

        Raises:
            StageFailure: an input was not finite.
        """
        found = super().score(module)
        if self.range_weight:
            found.add_(self._ranges.pop(module).ranges(), alpha=self.range_weight)
        return found
