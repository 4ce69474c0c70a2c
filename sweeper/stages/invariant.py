"""Loads a model, changes its basis, proves that its logits stayed, and saves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sweeper.methods.invariance import logits
from sweeper.modeling import checkpoint
from sweeper.stages import Job

_COMPUTED = "float32"


def changed(job: Job, name: str, change: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Writes ``checkpoint/``; what ``change`` said, and how far the logits are from before.

    ``logits_changed`` is the relative difference that float32 makes, ``logits_rounded`` that of
    the weights as they are saved: what rounding to ``save_dtype`` in another basis costs.

    Raises:
        StageFailure: the logits changed, or weights are not finite.
    """
    source, dtype = job.checkpoint("model"), job.params["save_dtype"]
    code = job.trust_remote_code
    model = checkpoint.sole(source, dtype=_COMPUTED, trust_remote_code=code)
    before = logits.of(model)
    result = change(model)
    moved = logits.require_same(before, model, name)
    checkpoint.require_finite(model, f"Set {name}=none.")
    left = checkpoint.save_dense(
        model, source, job.out / "checkpoint", dtype=dtype, trust_remote_code=code
    )
    saved = checkpoint.load(job.out / "checkpoint", dtype=_COMPUTED, trust_remote_code=code)
    return {
        **result,
        "logits_changed": moved,
        "logits_rounded": logits.difference(before, logits.of(saved)),
        **({"left_out": left} if left else {}),
    }
