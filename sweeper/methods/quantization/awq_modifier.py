"""AWQ's scaling as llm-compressor's modifier: on any device, and never skipped in silence."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import torch
from compressed_tensors.utils import update_offload_parameter
from llmcompressor.core import Event, State
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from pydantic import PrivateAttr

from sweeper.errors import StageFailure, several
from sweeper.methods.quantization.identity import Identity
from sweeper.methods.quantization.refined_nearest import SCALED
from sweeper.modeling import matrices


class AWQScaling(AWQModifier):  # type: ignore[misc]  # llm-compressor is untyped
    """Scales salient input channels up before they are rounded, and the layer before down.

    llm-compressor pins its cache in memory, which fails without a GPU, and leaves layers
    as they are when it knows no mapping or meets values that are not finite: those then
    are rounded to nearest, under another name. Here that fails.
    """

    save_dtype: str = "bfloat16"

    _smoothed: set[str] = PrivateAttr(default_factory=set)
    _identity: Identity | None = PrivateAttr(default=None)

    def on_calibration_start(self, state: State, event: Event, **kwargs: Any) -> None:
        """Begins to listen, to the inputs of decoder layers too.

        Raises:
            StageFailure: no mapping fits this architecture.
        """
        try:
            super().on_calibration_start(state, event, **kwargs)
        except ValueError as error:  # its table names layers that this model does not have
            raise StageFailure(
                f"awq: llm-compressor's mapping does not fit {type(state.model).__name__} "
                f"({error}). Use quant=gptq or quant=rtn."
            ) from error
        self._identity = Identity(state.model, "awq")

    def _compute_best_scale(self, mapping: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        scales: torch.Tensor = super()._compute_best_scale(mapping, *args, **kwargs)
        for matrix in mapping.balance_layers:  # for who has seen their inputs before
            setattr(matrix, SCALED, scales)
        return scales

    def _set_resolved_mappings(self, model: Any) -> None:
        # its patterns would also find the layers of a vision tower, which have the same names
        stack, _ = matrices.stack(model)
        given: list[Any] = self.mappings  # type: ignore[has-type]  # llm-compressor is untyped
        self.mappings = [_inside(mapping, stack) for mapping in given]
        super()._set_resolved_mappings(model)

    def _setup_activation_cache_hooks(self) -> None:
        super()._setup_activation_cache_hooks()
        if not torch.cuda.is_available():
            for parent in self._parent_args_cache:
                self._parent_args_cache[parent] = _Unpinned(None, self.offload_device)

    def on_sequential_epoch_end(
        self, state: State, event: Event, modules: list[torch.nn.Module], **kwargs: Any
    ) -> None:
        """Searches and applies the scales of a decoder layer.

        Raises:
            StageFailure: an output was not finite, or the layer then computes something else.
        """
        waiting, known = set(self._smooth_activation_stats), len(self._error_metrics)
        assert self._identity is not None
        with self._identity.kept(modules):
            super().on_sequential_epoch_end(state, event, modules=modules, **kwargs)
        done = {metric["layer_name"] for metric in self._error_metrics[known:]}
        if waiting - done:
            raise StageFailure(
                f"the outputs after {several(sorted(waiting - done))} are not finite. "
                "Compute with a wider range: model.compute_dtype=float32 or bfloat16."
            )
        for mapping in self._resolved_mappings:
            weight = getattr(mapping.smooth_layer, "weight", None)
            if mapping.smooth_name in done and weight is not None and weight.ndim == 1:
                _round(mapping.smooth_layer, getattr(torch, self.save_dtype))
        self._smoothed |= done

    def on_calibration_end(self, state: State, event: Event, **kwargs: Any) -> None:
        """Checks that every decoder layer was scaled.

        Raises:
            StageFailure: some were not, or there is nothing that could be scaled.
        """
        super().on_calibration_end(state, event, **kwargs)
        assert self._identity is not None
        self._identity.close()
        missing = {m.smooth_name for m in self._resolved_mappings} - self._smoothed
        if missing or not self._resolved_mappings:
            raise StageFailure(
                f"awq scaled nothing before {several(sorted(missing)) or 'any layer'}: "
                "llm-compressor knows no mapping for this architecture. "
                "Use quant=gptq or quant=rtn."
            )


def _inside(mapping: Any, stack: str) -> Any:
    """A mapping whose patterns match below the module ``stack`` only."""

    def within(pattern: str) -> str:
        found = pattern.removeprefix("re:")
        return f"re:(?={re.escape(stack)}\\.){found}" if found != pattern else pattern

    return replace(
        mapping,
        smooth_layer=within(mapping.smooth_layer),
        balance_layers=[within(pattern) for pattern in mapping.balance_layers],
    )


class _Unpinned(IntermediatesCache):  # type: ignore[misc]  # llm-compressor is untyped
    """A cache of arguments that stays in ordinary memory: pinning needs a GPU."""

    def pin_memory(self, batch_index: int, input_names: list[str] | None = None) -> None:
        """Nothing to do."""


def _round(norm: Any, dtype: torch.dtype) -> None:
    """Later layers are calibrated on the norm that is saved."""
    update_offload_parameter(norm, "weight", norm.weight.to(dtype).to(norm.weight.dtype))
