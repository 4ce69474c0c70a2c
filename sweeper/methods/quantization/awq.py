"""``quant.method: awq`` - salient channels are scaled up before rounding to nearest."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params
from sweeper.methods.quantization.grouped import GroupedRounding
from sweeper.methods.quantization.mappings import fits_awq
from sweeper.methods.refinement import options as refinement


class ActivationAware(GroupedRounding):
    """AWQ (Lin et al., MLSys 2024), eq. 4 and 5 without clipping; a zero stays a zero."""

    name = "awq"
    bits = (2, 3, 4, 8)
    label = "AWQ {bits}bit"
    calibrated = True

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        architecture = params.get("architecture")
        if architecture and not fits_awq(architecture, params.get("norms") or {}):
            return BadInput(
                "quant.method",
                "awq",
                f"llm-compressor knows no mapping for {architecture}.",
                "Use quant=gptq or quant=rtn.",
            )
        return super().refusal(params)

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`."""
        return refinement.passes(params, 6.6)

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        from sweeper.methods.quantization.awq_modifier import AWQScaling

        # scales from the inputs alone, as in the paper
        scaling = AWQScaling(duo_scaling=False, save_dtype=params["save_dtype"])
        return [scaling, self.rounding(params, model)]


METHOD = ActivationAware()
