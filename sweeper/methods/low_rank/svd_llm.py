"""``prune.method: svd_llm`` - each matrix at a lower rank, chosen where its inputs are whitened."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params, validation
from sweeper.methods.low_rank.rank import LowRank


class SVDLLM(LowRank):
    """SVD-LLM (Wang et al., ICLR 2025): truncation-aware whitening; weights are not updated."""

    label = "svd_llm {amount}"
    options = ("dampening", "profile")

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        return super().refusal(params) or validation.refuse_dampening("prune", params)

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`."""
        return 1.2

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        from sweeper.methods.low_rank.modifier import Whitened
        from sweeper.modeling import matrices

        return [
            Whitened(
                sparsities=params["sparsities"],
                dampening=params["dampening"],
                save_dtype=params["save_dtype"],
                ignore=matrices.untreated(model),
            )
        ]


METHOD = SVDLLM()
