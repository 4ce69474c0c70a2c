"""``quant.method: rtn`` - every weight to the nearest point of its group's grid."""

from __future__ import annotations

from typing import Any

from sweeper.methods import Params
from sweeper.methods.quantization.grouped import GroupedRounding
from sweeper.methods.refinement import options as refinement


class RoundToNearest(GroupedRounding):
    """Rounding to nearest on the min-max grid; a zero stays a zero, so a mask is kept."""

    name = "rtn"
    bits = (2, 3, 4, 6, 8)
    label = "RTN {bits}bit"
    calibrated = False
    options = (*GroupedRounding.options, "profile")

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`; without refinement it looks at no text."""
        return refinement.passes(params, 0.7) if params.get(refinement.REFINE) else 1.0

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        return [self.rounding(params, model)]


METHOD = RoundToNearest()
