"""``prune.method: sleb`` - one decoder layer after the other goes, the one missed least."""

from __future__ import annotations

from typing import Any

from sweeper.methods import Params
from sweeper.methods._depth import DepthPruning


class SLEB(DepthPruning):
    """SLEB (Song et al., ICML 2024): greedy removal by perplexity on the calibration text."""

    label = "sleb {amount}"

    def removed(self, params: Params, chain: Any, report: Any) -> list[int]:
        """See `sweeper.methods.ByRemoval`."""
        from sweeper.methods._blocks import greedy

        return greedy(chain, params["blocks"], report)


METHOD = SLEB()
