"""``quant.method: awq`` - salient channels are scaled up before rounding to nearest."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params, _check

BITS = (2, 3, 4, 8)
IGNORED = ["re:.*lm_head"]


class ActivationAware:
    """AWQ (Lin et al., MLSys 2024), eq. 4 and 5 without clipping; a zero stays a zero."""

    stage = "quantize"
    label = "AWQ {bits}bit"
    options = ("group_size", "symmetric")
    packages = ("llmcompressor", "compressed-tensors")
    calibrated = True
    masks = ("keep",)
    prunes = False

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        return _check.refuse_bits("awq", params, BITS) or _check.refuse_group(params)

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        from compressed_tensors.quantization import QuantizationScheme

        from sweeper.methods._awq import AWQScaling
        from sweeper.methods._nearest import Nearest
        from sweeper.methods._uniform import weight_grid

        linear = QuantizationScheme(targets=["Linear"], weights=weight_grid(params))
        return [
            # scales from the inputs alone, as in the paper
            AWQScaling(duo_scaling=False, save_dtype=params["save_dtype"]),
            Nearest(
                config_groups={"linear": linear},
                ignore=IGNORED,
                save_dtype=params["save_dtype"],
            ),
        ]


METHOD = ActivationAware()
