"""``quant.method: rtn`` - every weight to the nearest point of its group's grid."""

from __future__ import annotations

from typing import Any

from sweeper.methods import Params
from sweeper.methods.quantization.grouped import GroupedRounding


class RoundToNearest(GroupedRounding):
    """Rounding to nearest on the min-max grid; a zero stays a zero, so a mask is kept."""

    name = "rtn"
    bits = (2, 3, 4, 6, 8)
    label = "RTN {bits}bit"
    calibrated = False
    options = (*GroupedRounding.options, "profile")

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        return [self.rounding(params, model)]


METHOD = RoundToNearest()
