"""``quant.method: joint`` - pruning and quantization in one pass over the dense weights."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params, validation
from sweeper.methods.profiles import refuse_profile
from sweeper.methods.quantization import stored_scales
from sweeper.methods.refinement import options as refinement

BITS = (2, 3, 4, 8)


class JointOBS:
    """SparseGPT's joint form; columns in their own order, which N:M groups need."""

    stage = "quantize"
    label = "joint {bits}bit"
    options = ("group_size", "symmetric", "block_size", "dampening", *refinement.EVERY)
    packages = ("llmcompressor", "compressed-tensors")
    calibrated = True
    masks = ("keep",)
    prunes = True

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`; ``params`` have the sparsity and the pattern too."""
        return (
            validation.refuse_bits("joint", params, BITS)
            or validation.refuse_pattern(params)
            or refuse_profile(params)
            or validation.refuse_group(params)
            or validation.refuse_block("quant", params)
            or validation.refuse_dampening("quant", params)
        )

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`."""
        return refinement.passes(params, 1.1)

    def scale_bits(self, params: Params) -> float:
        """See `sweeper.methods.Quantizer`."""
        return stored_scales.of_grid(params)

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        from sweeper.methods.quantization.grids import groups
        from sweeper.methods.quantization.joint_modifier import JointOBS as Modifier
        from sweeper.methods.refinement.refine import of_params
        from sweeper.modeling import matrices

        return [
            Modifier(
                config_groups=groups(params),
                ignore=matrices.untreated(model),
                actorder=None,
                block_size=params["block_size"],
                dampening_frac=params["dampening"],
                save_dtype=params["save_dtype"],
                sparsities=params["sparsities"],
                pattern=validation.nm(params["pattern"]),
                refinement=of_params(params),
            )
        ]


METHOD = JointOBS()
