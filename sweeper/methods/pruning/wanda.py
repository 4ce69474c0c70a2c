"""``prune.method: wanda`` - weights go by their size times that of their inputs."""

from __future__ import annotations

from sweeper.methods import Params
from sweeper.methods.pruning.scored import ScoredPruning
from sweeper.methods.refinement import options as refinement


class WandaPruning(ScoredPruning):
    """Wanda (Sun et al., ICLR 2024), unstructured (per row) or any N:M; no weight changes."""

    label = "wanda {amount}"
    modifier = "Wanda"
    calibrated = True

    def passes(self, params: Params) -> float:
        """See `sweeper.methods.Costed`."""
        return refinement.refit_passes(params, 0.65, hessians=True)


METHOD = WandaPruning()
