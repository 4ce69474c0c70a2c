"""Rounding to nearest as llm-compressor's modifier, exact in the scales that are saved."""

from __future__ import annotations

from typing import Any

import torch
from compressed_tensors.quantization.utils import calculate_range
from compressed_tensors.utils import update_offload_parameter
from llmcompressor.core import Event, State
from llmcompressor.modifiers.quantization import QuantizationModifier


class Nearest(QuantizationModifier):  # type: ignore[misc]  # llm-compressor is untyped
    """llm-compressor's rounding to nearest, with scales rounded to ``save_dtype`` first.

    Each weight then gets the code that is nearest on the grid that is saved, and the
    weights in memory are those that a reload gives (llm-compressor leaves them unrounded).
    """

    save_dtype: str = "bfloat16"

    def on_sequential_epoch_end(
        self, state: State, event: Event, modules: list[torch.nn.Module], **kwargs: Any
    ) -> None:
        """Quantizes the matrices of a decoder layer."""
        super().on_sequential_epoch_end(state, event, modules, **kwargs)
        for module in modules:
            scheme = getattr(module, "quantization_scheme", None)
            if scheme is not None:
                self._round(module, scheme.weights)

    def _round(self, module: Any, args: Any) -> None:
        scale = module.weight_scale.to(getattr(torch, self.save_dtype)).float()
        update_offload_parameter(module, "weight_scale", scale.to(module.weight_scale.dtype))
        with torch.no_grad():
            weight = nearest(module.weight.float(), scale, module.weight_zero_point, args)
        # float32: at 8 bit, packing from bfloat16 weights would miss codes by one
        module.weight = torch.nn.Parameter(weight, requires_grad=False)


def nearest(
    weight: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, args: Any
) -> torch.Tensor:
    """(code - z) s with code = clamp(round(w / s) + z); the published uniform quantizer.

    Args:
        weight: [rows, columns], float32.
        scale: [rows, groups], float32.
        zero_point: [rows, groups].
        args: llm-compressor's, for the range of codes.

    Returns:
        [rows, columns], float32.
    """
    size = weight.shape[1] // scale.shape[1]
    s, z = (per.float().repeat_interleave(size, dim=1) for per in (scale, zero_point))
    low, high = (float(v) for v in calculate_range(args, "cpu"))
    return (torch.clamp(torch.round(weight / s) + z, low, high) - z) * s
