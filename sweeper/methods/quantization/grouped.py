"""What the front end knows of quantizers that round to the nearest point of a group's grid."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params, validation
from sweeper.methods.quantization import stored_scales, widths
from sweeper.methods.refinement import options as refinement


class GroupedRounding:
    """Part of a method of `sweeper.methods`; a subclass says the rest and its ``recipe``.

    Attributes:
        name: the method's, for messages.
        bits: the bits per weight that it has codes for.
    """

    name: str
    bits: tuple[int, ...]
    stage = "quantize"
    options: tuple[str, ...] = ("group_size", "symmetric", *refinement.QUANT)
    packages: tuple[str, ...] = ("llmcompressor", "compressed-tensors")
    masks: tuple[str, ...] = ("keep",)
    prunes = False

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        wrong_bits = widths.refuse_bits(self.name, params, self.bits)
        return (
            wrong_bits
            or validation.refuse_group(params)
            or validation.refuse_dampening("quant", params)
        )

    def scale_bits(self, params: Params) -> float:
        """See `sweeper.methods.Quantizer`."""
        return stored_scales.of_grid(params)

    def rounding(self, params: Params, model: Any) -> Any:
        """The modifier that rounds, and refines."""
        from sweeper.methods.quantization.grids import groups
        from sweeper.methods.quantization.refined_nearest import RefinedNearest
        from sweeper.methods.quantization.rtn_modifier import Nearest
        from sweeper.methods.refinement.refine import of_params
        from sweeper.modeling import matrices

        common = {
            "config_groups": groups(params),
            "ignore": matrices.untreated(model),
            "save_dtype": params["save_dtype"],
        }
        how = of_params(params)
        if not how.sweeps:
            return Nearest(**common)
        return RefinedNearest(
            **common,
            actorder=None,
            dampening_frac=params["dampening"],
            keep_zeros=params["mask"] == "keep",
            refinement=how,
        )
