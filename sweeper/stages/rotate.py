"""``rotate``: the same function in a rotated basis, see `sweeper.methods.invariance.rotating`."""

from __future__ import annotations

from typing import Any

from sweeper.stages import Job


def run(job: Job) -> dict[str, Any]:
    """Writes ``checkpoint/``, of which plain transformers makes the same logits.

    Raises:
        StageFailure: the model is built otherwise, its norms cannot be folded, no rotation fits
            its heads, or its logits changed.
    """
    from sweeper.methods.invariance import rotating
    from sweeper.stages import invariant

    def change(model: Any) -> dict[str, Any]:
        own = job.params
        return rotating.rotate(model, block_size=own["block_size"], seed=own["seed"])

    return invariant.changed(job, "rotate", change)
