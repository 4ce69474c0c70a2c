"""``prune.method: magnitude`` - the smallest weights of each matrix go; no calibration."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params, _check

IGNORED = ["re:.*lm_head"]


class MagnitudePruning:
    """Magnitude pruning (Han et al., NeurIPS 2015), layer-wise uniform or any N:M."""

    stage = "prune"
    label = "magnitude {amount}"
    options = ()
    packages = ("llmcompressor",)
    calibrated = False
    masks = ()
    prunes = True

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        return _check.refuse_pattern(params)

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        from sweeper.methods._saliency import Magnitude

        n, m = _check.nm(params["pattern"]) or (0, 0)
        return [
            Magnitude(
                sparsity=params["sparsity"],
                mask_structure=f"{n}:{m}",
                save_dtype=params["save_dtype"],
                ignore=IGNORED,
            )
        ]


METHOD = MagnitudePruning()
