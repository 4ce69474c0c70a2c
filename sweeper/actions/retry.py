"""``isorate retry``: forget the failures of a sweep and run it again."""

from __future__ import annotations

import sys

from sweeper.actions import Request, run


def perform(request: Request) -> int:
    """Clear every recorded failure of the plan's stages, then `run`."""
    plan = request.plan
    cleared = sum(request.store.clear_failure(stage.record()) for stage in plan.stages.values())
    print(f"isorate: {cleared} failures forgotten", file=sys.stderr)
    return run.perform(request)
