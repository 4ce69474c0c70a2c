"""SmoothQuant's migration of outliers from inputs to weights, as llm-compressor's modifier."""

from __future__ import annotations

from typing import Any

import torch
from compressed_tensors.utils import update_offload_parameter
from llmcompressor.core import Event, State
from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier
from llmcompressor.modifiers.transform.smoothquant.dynamic_mappings import (
    SMOOTHQUANT_DYNAMIC_MAPPING_REGISTRY,
)
from llmcompressor.modifiers.transform.smoothquant.utils import MAPPINGS_REGISTRY
from llmcompressor.modifiers.utils.hooks import HooksMixin
from pydantic import PrivateAttr

from sweeper.errors import StageFailure

_TINY = 1e-5  # as in the published code: no scale is smaller


class Smoothing(SmoothQuantModifier):  # type: ignore[misc]  # llm-compressor is untyped
    """Divides a norm's output by a scale per channel and multiplies the matrices after it.

    llm-compressor takes the range of an input where the paper has its largest absolute
    value, rounds the products to the dtype of the weights (half as coarse as the 8-bit grid
    itself), and tries the mapping of Llama on any architecture. Here the statistic is the
    paper's, the products stay in float32 until they are quantized, the rounding of the norm
    is made up for by the weights, and what cannot be smoothed fails.
    """

    save_dtype: str = "bfloat16"

    _largest: dict[str, torch.Tensor] = PrivateAttr(default_factory=dict)
    _smoothed: set[str] = PrivateAttr(default_factory=set)

    def on_initialize(self, state: State, **kwargs: Any) -> bool:
        """Finds which matrices read which norm.

        Raises:
            StageFailure: that is not known for this architecture.
        """
        architecture = type(state.model).__name__
        if not {architecture} & {*MAPPINGS_REGISTRY, *SMOOTHQUANT_DYNAMIC_MAPPING_REGISTRY}:
            raise StageFailure(
                f"smoothquant: llm-compressor does not know which matrices of {architecture} "
                "read which norm. Use quant=gptq or quant=rtn with quant.bits=8."
            )
        return bool(super().on_initialize(state, **kwargs))

    def _setup_scale_hooks(self) -> None:
        for mapping in self.resolved_mappings_:
            self.register_hook(mapping.smooth_layer, self._listener(mapping.smooth_name), "forward")

    def _listener(self, name: str) -> Any:
        def listen(_module: Any, _args: Any, output: torch.Tensor) -> None:
            largest = output.detach().reshape(-1, output.shape[-1]).abs().amax(0).float()
            known = self._largest.get(name)
            self._largest[name] = largest if known is None else torch.maximum(known, largest)

        return listen

    def _apply_smoothing(self, model: Any) -> None:
        for mapping in self.resolved_mappings_:
            largest = self._largest.pop(mapping.smooth_name, None)
            if largest is not None:
                with torch.no_grad():
                    self._smooth(mapping, largest)
                self._smoothed.add(mapping.smooth_name)

    def _smooth(self, mapping: Any, largest: torch.Tensor) -> None:
        name, norm, matrices = mapping.smooth_name, mapping.smooth_layer, mapping.balance_layers
        if not torch.isfinite(largest).all():
            raise StageFailure(
                f"the outputs of {name} are not finite. Compute with a wider range: "
                "model.compute_dtype=float32 or bfloat16."
            )
        weights = torch.stack([m.weight.float().abs().amax(0) for m in matrices]).amax(0)
        scale = scales(largest, weights, self.smoothing_strength)
        probe = torch.linspace(-1, 1, len(largest), device=largest.device).to(norm.weight.dtype)
        with HooksMixin.disable_hooks():
            before = norm(probe).float()
            scale = _divide(norm, scale, getattr(torch, self.save_dtype))
            after = norm(probe).float() * scale
        if not torch.allclose(before, after, rtol=0.02, atol=1e-4):
            raise StageFailure(
                f"smoothquant: the output of {name} is not in proportion to its weight, so it "
                "cannot be smoothed. Use quant=gptq or quant=rtn with quant.bits=8."
            )
        for matrix in matrices:
            # float32 until it is quantized, which follows at once
            exact = matrix.weight.float() * scale
            matrix.weight = torch.nn.Parameter(exact, requires_grad=False)

    def on_calibration_end(self, state: State, event: Event, **kwargs: Any) -> None:
        """Checks that all that can be smoothed was.

        Raises:
            StageFailure: some was not.
        """
        super().on_calibration_end(state, event, **kwargs)
        missing = {m.smooth_name for m in self.resolved_mappings_} - self._smoothed
        if missing or not self._smoothed:
            raise StageFailure(
                f"smoothquant smoothed nothing after {', '.join(sorted(missing)) or 'any norm'}. "
                "Use quant=gptq or quant=rtn with quant.bits=8."
            )


def scales(inputs: torch.Tensor, weights: torch.Tensor, strength: float) -> torch.Tensor:
    """max|X_j|^a / max|W_j|^(1-a) (arXiv:2211.10438, eq. 4); 1 for an input never active.

    Args:
        inputs: [columns], the largest absolute value of each input channel.
        weights: [columns], the largest absolute weight that multiplies it; an input that no
            weight reads (all are pruned) is brought to size 1.
        strength: a, the share of the difficulty that moves to the weights.
    """
    found = inputs.pow(strength) / weights.pow(1 - strength)
    found = torch.where(weights > 0, found, inputs).clamp_min(_TINY)
    return torch.where(inputs > 0, found, 1.0)


def _divide(norm: Any, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Divides a norm's weight (and bias); returns by what, once it is rounded to ``dtype``."""
    weight = norm.weight.float().clone()
    divided = (weight / scale).to(dtype)
    update_offload_parameter(norm, "weight", divided.to(norm.weight.dtype))
    rounded = torch.where(divided == 0, scale, weight / divided.float())
    if getattr(norm, "bias", None) is not None:
        bias = (norm.bias.float() / rounded).to(dtype)
        update_offload_parameter(norm, "bias", bias.to(norm.bias.dtype))
    return rounded
