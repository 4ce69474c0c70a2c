"""``quant.method: awq`` - salient channels are scaled up before rounding to nearest."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params
from sweeper.methods.quantization.grouped import GroupedRounding
from sweeper.methods.quantization.mappings import fits_awq, unscalable
from sweeper.methods.refinement import options as refinement


class ActivationAware(GroupedRounding):
    """AWQ (Lin et al., MLSys 2024), eq. 4 and 5 without clipping; a zero stays a zero."""

    name = "awq"
    bits = (2, 3, 4, 8)
    label = "AWQ {bits}bit"
    calibrated = True

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        return _refuse_architecture(params) or super().refusal(params)

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`."""
        return refinement.passes(params, 6.6)

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        from sweeper.methods.quantization.awq_modifier import AWQScaling

        # scales from the inputs alone, as in the paper
        scaling = AWQScaling(duo_scaling=False, save_dtype=params["save_dtype"])
        return [scaling, self.rounding(params, model)]


def _refuse_architecture(params: Params) -> BadInput | None:
    architecture, norms = params.get("architecture"), params.get("norms")
    if not architecture:
        return None
    if not fits_awq(architecture, norms or {}):
        why = f"llm-compressor knows no mapping for {architecture}."
    elif norms is not None and (bare := unscalable(architecture, norms, params["shapes"])):
        why = f"llm-compressor's mapping for {architecture} scales {bare}, which has no weights."
    else:
        return None
    return BadInput("quant.method", "awq", why, "Use quant=gptq or quant=rtn.")


METHOD = ActivationAware()
