"""SmoothQuant's migration of outliers from inputs to weights, as llm-compressor's modifier."""

from __future__ import annotations

from typing import Any

import torch
from compressed_tensors.utils import update_offload_parameter
from llmcompressor.core import Event, State
from llmcompressor.modeling.offset_norm import NormCalibrationModule
from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier
from llmcompressor.modifiers.transform.smoothquant.base import SmoothQuantMapping
from llmcompressor.modifiers.utils.hooks import HooksMixin
from pydantic import PrivateAttr

from sweeper.errors import StageFailure
from sweeper.methods.quantization.identity import Identity
from sweeper.modeling import trace

_TINY = 1e-5  # as in the published code: no scale is smaller


class Smoothing(SmoothQuantModifier):  # type: ignore[misc]  # llm-compressor is untyped
    """Divides a norm's output by a scale per channel and multiplies the matrices after it.

    llm-compressor takes the range of an input where the paper has its largest absolute
    value, rounds the products to the dtype of the weights (half as coarse as the 8-bit grid
    itself), and has a table of which matrices read which norm that is wrong for some
    architectures. Here the statistic is the paper's, who reads what is seen on the model, the
    products stay in float32 until they are quantized, the rounding of the norm is made up for by
    the weights, and what cannot be smoothed, or is no identity, fails.
    """

    save_dtype: str = "bfloat16"

    _largest: dict[str, torch.Tensor] = PrivateAttr(default_factory=dict)
    _smoothed: set[str] = PrivateAttr(default_factory=set)
    _identity: Identity | None = PrivateAttr(default=None)

    def _infer_mappings_from_model(self, model: Any) -> list[Any]:
        return []  # not from a table of architectures, which is wrong for some of them

    def _resolve_mappings(self, model: Any) -> list[SmoothQuantMapping]:
        """Which matrices read which norm, as the model itself shows.

        Raises:
            StageFailure: no matrix reads a norm's output as it is.
        """
        found = [
            SmoothQuantMapping(name, model.get_submodule(name), list(map(model.get_submodule, by)))
            for name, by in trace.of(model).norms.items()
        ]
        if not found:
            raise StageFailure(
                f"smoothquant: no matrix of {type(model).__name__} reads the output of a norm. "
                "Use quant=gptq or quant=rtn with quant.bits=8."
            )
        return found

    def on_calibration_start(self, state: State, event: Event, **kwargs: Any) -> None:
        """Begins to listen to norms, and to the inputs of decoder layers."""
        super().on_calibration_start(state, event, **kwargs)
        self._identity = Identity(state.model, "smoothquant")

    def on_sequential_epoch_end(
        self, state: State, event: Event, modules: list[torch.nn.Module], **kwargs: Any
    ) -> None:
        """Smooths a decoder layer.

        Raises:
            StageFailure: it cannot be smoothed, or then computes something else.
        """
        assert self._identity is not None
        with self._identity.kept(modules):
            super().on_sequential_epoch_end(state, event, modules=modules, **kwargs)

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
        if not (after - before).norm() <= 0.02 * before.norm():
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
        assert self._identity is not None
        self._identity.close()
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
    # norms that multiply by 1 + w are replaced while a model is calibrated; what is saved is w
    offset = 1.0 if isinstance(norm, NormCalibrationModule) else 0.0
    divided = (weight / scale - offset).to(dtype).float() + offset
    update_offload_parameter(norm, "weight", divided.to(norm.weight.dtype))
    rounded = torch.where(divided == 0, scale, weight / divided)
    if getattr(norm, "bias", None) is not None:
        bias = (norm.bias.float() / rounded).to(dtype)
        update_offload_parameter(norm, "bias", bias.to(norm.bias.dtype))
    return rounded
