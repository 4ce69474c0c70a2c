"""``prune.method: sleb`` - one decoder layer after the other goes, the one missed least."""

from __future__ import annotations

from typing import Any

from sweeper.methods import Params
from sweeper.methods.depth.base import DepthPruning
from sweeper.modeling.shapes import Shapes

_LOADING, _CANDIDATE = 0.1, 0.25  # for each: half of the model and the head


class SLEB(DepthPruning):
    """SLEB (Song et al., ICML 2024): greedy removal by perplexity on the calibration text."""

    label = "sleb {amount}"

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`: every round scores each layer that is left."""
        layers, blocks = Shapes(params["shapes"], 0).layers, params["blocks"]
        candidates = blocks * layers - blocks * (blocks - 1) // 2
        return float(_LOADING + _CANDIDATE * candidates)

    def removed(self, params: Params, chain: Any, report: Any) -> list[int]:
        """See `sweeper.methods.ByRemoval`."""
        from sweeper.methods.depth.scoring import greedy

        return greedy(chain, params["blocks"], report)


METHOD = SLEB()
