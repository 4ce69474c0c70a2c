"""A pruner of llm-compressor's that is told the sparsity of each matrix by name."""

from __future__ import annotations

from typing import Any

from llmcompressor.core import Event, State
from llmcompressor.modifiers.pruning.sparsegpt.sgpt_base import SparsityModifierBase


class Profiled(SparsityModifierBase):  # type: ignore[misc]  # llm-compressor is untyped
    """Honours ``sparsities``; llm-compressor's own profile is never used.

    Attributes:
        sparsities: name of a matrix -> share of its weights to prune; None: ``sparsity`` of
            each. Not used for N:M.
    """

    sparsities: dict[str, float] | None = None

    def on_calibration_start(self, state: State, event: Event, **kwargs: Any) -> None:
        """Gives each matrix its share."""
        super().on_calibration_start(state, event, **kwargs)
        if self.sparsities is None:
            return
        for module, name in self._module_names.items():
            # llm-compressor appends a dot
            self._module_sparsities[module] = self.sparsities[name.rstrip(".")]
