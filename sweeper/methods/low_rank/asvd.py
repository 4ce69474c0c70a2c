"""``prune.method: asvd`` - each matrix at a lower rank, its columns scaled by their inputs."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params
from sweeper.methods.low_rank.rank import LowRank


class ASVD(LowRank):
    """ASVD (Yuan et al., 2023): activation-aware scaling, the same share from every matrix."""

    label = "asvd {amount}"
    options = ("alpha", "profile")

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        if not 0 <= params["alpha"] <= 2:
            valid = "valid: 0 (the plain SVD) to 2."
            return BadInput("prune.alpha", params["alpha"], valid, "0.5 is usual.")
        return super().refusal(params)

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`."""
        return 0.85

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        from sweeper.methods.low_rank.modifier import Scaled
        from sweeper.modeling import matrices

        return [
            Scaled(
                sparsities=params["sparsities"],
                alpha=params["alpha"],
                save_dtype=params["save_dtype"],
                ignore=matrices.untreated(model),
            )
        ]


METHOD = ASVD()
