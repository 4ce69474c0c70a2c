"""Rounding to nearest as llm-compressor's modifier, exact in the scales that are saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from compressed_tensors.quantization.utils import calculate_range
from compressed_tensors.utils import update_offload_parameter
from llmcompressor.core import Event, State
from llmcompressor.modifiers.quantization import QuantizationModifier
from pydantic import PrivateAttr


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What the weights of a matrix are rounded to.

    Attributes:
        scale: [rows, groups], float32.
        zero: [rows, groups], the zero points.
        args: llm-compressor's, for the range of codes.
    """

    scale: torch.Tensor
    zero: torch.Tensor
    args: Any

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest code."""
        low, high = calculate_range(self.args, "cpu")
        return float(low), float(high)


class Nearest(QuantizationModifier):  # type: ignore[misc]  # llm-compressor is untyped
    """llm-compressor's rounding to nearest, with scales rounded to ``save_dtype`` first.

    Each weight then gets the code that is nearest on the grid that is saved, and the
    weights in memory are those that a reload gives (llm-compressor leaves them unrounded).
    """

    save_dtype: str = "bfloat16"

    _codes: dict[torch.nn.Module, torch.Tensor] = PrivateAttr(default_factory=dict)

    def on_initialize(self, state: State, **kwargs: Any) -> bool:
        """Attaches the grids."""
        done = bool(super().on_initialize(state, **kwargs))
        poison(state.model)
        return done

    def on_sequential_epoch_end(
        self, state: State, event: Event, modules: list[torch.nn.Module], **kwargs: Any
    ) -> None:
        """Quantizes the matrices of a decoder layer."""
        super().on_sequential_epoch_end(state, event, modules, **kwargs)
        for module in modules:
            scheme = getattr(module, "quantization_scheme", None)
            if scheme is not None:
                self._round(module, scheme.weights)

    def on_finalize(self, state: State, **kwargs: Any) -> bool:
        """Puts the exact weights in place: at 8 bit, bfloat16 ones would miss codes by one."""
        for module, codes in self._codes.items():
            exact = values(codes.float(), module.weight_scale.float(), module.weight_zero_point)
            module.weight = torch.nn.Parameter(exact, requires_grad=False)
        self._codes = {}
        return True

    def _round(self, module: Any, args: Any) -> None:
        dtype = getattr(torch, self.save_dtype)
        scale, zero = module.weight_scale.to(dtype).float(), module.weight_zero_point
        with torch.no_grad():
            codes = nearest(module.weight.float(), scale, zero, args)
            served = values(codes, scale, zero).to(dtype)
            update_offload_parameter(module, "weight_scale", scale.to(module.weight_scale.dtype))
            if module.weight.dtype == module.weight_scale.dtype:
                update_offload_parameter(module, "weight", served.to(module.weight.dtype))
            else:  # what came before left an exact product in a wider dtype
                narrow = served.to(module.weight_scale.dtype)
                module.weight = torch.nn.Parameter(narrow, requires_grad=False)
        self._codes[module] = codes.to(torch.int8)


def poison(model: Any) -> None:
    """Makes scales that nobody has set not a number: they are memory as it was found."""
    for module in model.modules():
        scale = getattr(module, "weight_scale", None)
        if getattr(module, "quantization_scheme", None) is not None and scale is not None:
            update_offload_parameter(module, "weight_scale", torch.full_like(scale, torch.nan))


def nearest(
    weight: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, args: Any
) -> torch.Tensor:
    """Codes of the published uniform quantizer: clamp(round(w / s) + z).

    Args:
        weight: [rows, columns], float32.
        scale: [rows, groups], float32.
        zero_point: [rows, groups].
        args: llm-compressor's, for the range of codes.

    Returns:
        [rows, columns], whole numbers in float32.
    """
    low, high = (float(v) for v in calculate_range(args, "cpu"))
    codes = torch.round(weight / wide(scale, weight)) + wide(zero_point, weight)
    return torch.clamp(codes, low, high)


def values(codes: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor) -> torch.Tensor:
    """What codes stand for, (code - z) s; arguments as in `nearest`."""
    return (codes - wide(zero_point, codes)) * wide(scale, codes)


def wide(per_group: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """[rows, groups] -> [rows, columns], one value per weight, float32."""
    return per_group.float().repeat_interleave(weight.shape[1] // per_group.shape[1], dim=1)
