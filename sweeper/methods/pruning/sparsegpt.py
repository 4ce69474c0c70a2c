"""``prune.method: sparsegpt`` - one-shot pruning by optimal brain surgery, layer by layer."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params, validation
from sweeper.methods.profiles import refuse_profile
from sweeper.methods.refinement import options as refinement


class SparseGPT:
    """SparseGPT (Frantar and Alistarh, ICML 2023), unstructured or any N:M."""

    stage = "prune"
    label = "{amount}"
    options = ("block_size", "dampening", "profile", refinement.REFINE)
    packages = ("llmcompressor",)
    calibrated = True
    masks = ()
    prunes = True

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        return (
            validation.refuse_pattern(params)
            or refuse_profile(params)
            or validation.refuse_block("prune", params)
            or validation.refuse_dampening("prune", params)
        )

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`."""
        return refinement.refit_passes(params, 1.0)

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        from sweeper.methods.pruning.sparsegpt_modifier import ExactSparseGPT, block_of
        from sweeper.modeling import matrices

        n, m = validation.nm(params["pattern"]) or (0, 0)
        return [
            ExactSparseGPT(
                sparsity=params["sparsity"],
                sparsities=params["sparsities"],
                mask_structure=f"{n}:{m}",
                block_size=block_of(params["block_size"], m or 1),
                dampening_frac=params["dampening"],
                refine=params.get(refinement.REFINE, 0),
                save_dtype=params["save_dtype"],
                ignore=matrices.untreated(model),
            )
        ]


METHOD = SparseGPT()
