"""``isorate sync``: replay the store into MLflow."""

from __future__ import annotations

from sweeper import conclude
from sweeper.actions import Request


def perform(request: Request) -> int:
    """Make MLflow show what the store holds of a recorded sweep; 1 if it could not."""
    done = conclude.sync(request, request.sweep.load())
    if not done["enabled"]:
        text = "tracking.enabled=false: nothing was written"
    else:
        counts = ", ".join(f"{done[k]} {k}" for k in ("created", "updated", "unchanged", "removed"))
        text = done["problem"] or f"{done['uri']}: {counts}"
    request.answer(done, text)
    return 1 if done.get("problem") else 0
