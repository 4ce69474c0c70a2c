"""``quant.method: gptq`` - one-shot weight quantization by optimal brain surgery."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput, one_of
from sweeper.methods import Params, _check

BITS = (2, 3, 4, 8)
ORDERS = ("none", "static")
IGNORED = ["re:.*lm_head"]


class GPTQ:
    """GPTQ (Frantar et al., ICLR 2023); ``mask: keep`` leaves pruned weights at zero."""

    stage = "quantize"
    label = "{bits}bit"
    options = ("group_size", "symmetric", "actorder", "block_size", "dampening")
    packages = ("llmcompressor", "compressed-tensors")
    calibrated = True
    masks = ("keep", "ignore")
    prunes = False

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        wrong_bits = _check.refuse_bits("gptq", params, BITS)
        if wrong_bits is not None:
            return wrong_bits
        if params.get("actorder", "static") not in ORDERS:
            return BadInput(
                "quant.actorder",
                params["actorder"],
                f"{one_of(ORDERS)}.",
                "static orders columns by activation and keeps groups contiguous; llm-compressor "
                "no longer has group or dynamic order.",
            )
        return (
            _check.refuse_group(params)
            or _check.refuse_block("quant", params)
            or _check.refuse_dampening("quant", params)
        )

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        from compressed_tensors.quantization import QuantizationScheme

        from sweeper.methods._gptq import MaskedGPTQ
        from sweeper.methods._uniform import weight_grid

        linear = QuantizationScheme(targets=["Linear"], weights=weight_grid(params))
        return [
            MaskedGPTQ(
                config_groups={"linear": linear},
                ignore=IGNORED,
                actorder=None if params["actorder"] == "none" else params["actorder"],
                block_size=params["block_size"],
                dampening_frac=params["dampening"],
                keep_zeros=params["mask"] == "keep",
                save_dtype=params["save_dtype"],
            )
        ]


METHOD = GPTQ()
