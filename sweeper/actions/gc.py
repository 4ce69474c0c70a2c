"""``isorate gc``: delete what dead attempts left behind and checkpoints nobody needs."""

from __future__ import annotations

from sweeper import checkpoints, show
from sweeper.actions import Request


def perform(request: Request) -> int:
    """Clean the home's store; results and records always stay."""
    store = request.store
    store.check()
    left_over = store.gc(damaged=True)
    stages = checkpoints.planned(request.home)
    freed = sum(
        store.drop_bulk(spec)
        for spec in checkpoints.unread(store, stages, request.config.checkpoints)
    )
    request.answer(
        {"deleted": [str(path) for path in left_over], "checkpoint_bytes": freed},
        f"{len(left_over)} leftovers deleted, {show.size(freed)} of checkpoints dropped "
        f"(checkpoints={request.config.checkpoints}); results and records stay",
    )
    return 0
