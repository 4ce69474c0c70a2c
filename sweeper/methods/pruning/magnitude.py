"""``prune.method: magnitude`` - the smallest weights of each matrix go; no calibration."""

from __future__ import annotations

from sweeper.methods.pruning.scored import ScoredPruning


class MagnitudePruning(ScoredPruning):
    """Magnitude pruning (Han et al., NeurIPS 2015), compared within a matrix, or any N:M."""

    label = "magnitude {amount}"
    modifier = "Magnitude"
    calibrated = False


METHOD = MagnitudePruning()
