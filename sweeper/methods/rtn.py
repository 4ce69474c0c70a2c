"""``quant.method: rtn`` - every weight to the nearest point of its group's grid."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params, _check

BITS = (2, 3, 4, 6, 8)
IGNORED = ["re:.*lm_head"]


class RoundToNearest:
    """Rounding to nearest on the min-max grid; a zero stays a zero, so a mask is kept."""

    stage = "quantize"
    label = "RTN {bits}bit"
    options = ("group_size", "symmetric")
    packages = ("llmcompressor", "compressed-tensors")
    calibrated = False
    masks = ("keep",)
    prunes = False

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        return _check.refuse_bits("rtn", params, BITS) or _check.refuse_group(params)

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        from compressed_tensors.quantization import QuantizationScheme

        from sweeper.methods._nearest import Nearest
        from sweeper.methods._uniform import weight_grid

        linear = QuantizationScheme(targets=["Linear"], weights=weight_grid(params))
        return [
            Nearest(
                config_groups={"linear": linear},
                ignore=IGNORED,
                save_dtype=params["save_dtype"],
            )
        ]


METHOD = RoundToNearest()
