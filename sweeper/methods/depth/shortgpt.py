"""``prune.method: shortgpt`` - the decoder layers that change their input least go, at once."""

from __future__ import annotations

from typing import Any

from sweeper.methods import Params
from sweeper.methods.depth.base import DepthPruning


class ShortGPT(DepthPruning):
    """ShortGPT (Men et al., 2024): removal by block influence, on the whole model."""

    label = "shortgpt {amount}"

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`."""
        return 0.35

    def removed(self, params: Params, chain: Any, report: Any) -> list[int]:
        """See `sweeper.methods.ByRemoval`."""
        from sweeper.methods.depth.scoring import block_influence

        influence = block_influence(chain, report)
        return sorted(range(len(influence)), key=influence.__getitem__)[: params["blocks"]]


METHOD = ShortGPT()
