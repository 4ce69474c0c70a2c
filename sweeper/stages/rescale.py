"""``rescale``: the same function with other weights, see `sweeper.methods.invariance.rescaling`."""

from __future__ import annotations

from typing import Any

from sweeper.stages import Job


def run(job: Job) -> dict[str, Any]:
    """Writes ``checkpoint/``, of which plain transformers makes the same logits.

    Raises:
        StageFailure: the model is built otherwise, or its logits changed.
    """
    from sweeper.methods.invariance import rescaling
    from sweeper.stages import invariant

    def change(model: Any) -> dict[str, Any]:
        rescaling.rescale(model, seed=job.params["seed"], spread=job.params["spread"])
        return {"spread": job.params["spread"]}

    return invariant.changed(job, "rescale", change)
