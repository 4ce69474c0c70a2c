"""``prune.method: wanda`` - weights go by their size times that of their inputs."""

from __future__ import annotations

from typing import Any

from sweeper.errors import BadInput
from sweeper.methods import Params, _check

IGNORED = ["re:.*lm_head"]


class WandaPruning:
    """Wanda (Sun et al., ICLR 2024), unstructured (per row) or any N:M; no weight changes."""

    stage = "prune"
    label = "wanda {amount}"
    options = ()
    packages = ("llmcompressor",)
    calibrated = True
    masks = ()
    prunes = True

    def refusal(self, params: Params) -> BadInput | None:
        """See `sweeper.methods.Method`."""
        return _check.refuse_pattern(params)

    def recipe(self, params: Params, model: Any) -> list[Any]:
        """See `sweeper.methods.ByModifiers`."""
        from sweeper.methods._saliency import Wanda

        n, m = _check.nm(params["pattern"]) or (0, 0)
        return [
            Wanda(
                sparsity=params["sparsity"],
                mask_structure=f"{n}:{m}",
                save_dtype=params["save_dtype"],
                ignore=IGNORED,
            )
        ]


METHOD = WandaPruning()
