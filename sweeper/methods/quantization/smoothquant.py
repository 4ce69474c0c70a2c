"""``quant.method: smoothquant`` - weights and inputs of few bits, outliers moved to the weights."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput, one_of
from sweeper.methods import Params, validation
from sweeper.methods.quantization import stored_scales

BITS = (6, 8)
ACTIVATION_BITS = (6, 8)
_ROWS = {"symmetric": True, "group_size": -1}


class SmoothQuant:
    """SmoothQuant (Xiao et al., ICML 2023): scales per row and, at run time, per token."""

    stage = "quantize"
    label = "SmoothQuant W{bits}A{activation_bits}"
    options = ("activation_bits", "smoothing")
    packages = ("llmcompressor", "compressed-tensors")
    calibrated = True
    masks = ("keep",)
    prunes = False

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        return (
            validation.refuse_bits("smoothquant", params, BITS)
            or _refuse_activations(params["activation_bits"])
            or _refuse_smoothing(params["smoothing"])
            or _refuse_architecture(params)
        )

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`."""
        return 0.77

    def scale_bits(self, params: Params) -> float:
        """See `sweeper.methods.Quantizer`."""
        return stored_scales.of_grid({**params, **_ROWS})

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        from compressed_tensors.quantization import QuantizationScheme

        from sweeper.methods.quantization.grids import token_grid, weight_grid
        from sweeper.methods.quantization.rtn_modifier import Nearest
        from sweeper.methods.quantization.smoothquant_modifier import Smoothing
        from sweeper.modeling import matrices

        linear = QuantizationScheme(
            targets=["Linear"],
            weights=weight_grid({"bits": params["bits"], **_ROWS}),
            input_activations=token_grid(params["activation_bits"]),
        )
        save_dtype = params["save_dtype"]
        return [
            Smoothing(smoothing_strength=params["smoothing"], save_dtype=save_dtype),
            Nearest(
                config_groups={"linear": linear},
                ignore=matrices.untreated(model),
                save_dtype=save_dtype,
            ),
        ]


def _refuse_activations(bits: int) -> BadInput | None:
    if bits in ACTIVATION_BITS:
        return None
    return BadInput(
        "quant.activation_bits",
        bits,
        f"smoothquant quantizes inputs too, {one_of(ACTIVATION_BITS)}.",
        "For 16-bit inputs use quant=gptq, awq or rtn.",
    )


def _refuse_smoothing(value: float) -> BadInput | None:
    if 0 <= value <= 1:
        return None
    return BadInput(
        "quant.smoothing",
        value,
        "valid: 0 (all difficulty stays with the inputs) to 1 (all moves to the weights).",
        "0.5 is usual.",
    )


def _refuse_architecture(params: Params) -> BadInput | None:
    """Without a matrix that reads a norm's output as it is, nothing can be smoothed."""
    if params.get("norms") != {}:
        return None
    return BadInput(
        "quant.method",
        "smoothquant",
        f"no matrix of {params['architecture']} reads the output of a norm as it is.",
        "Use quant=gptq or quant=rtn with quant.bits=8.",
    )


METHOD = SmoothQuant()
