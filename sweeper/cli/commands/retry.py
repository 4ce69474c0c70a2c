"""``isorate retry``: forget the failures of a sweep and run it again."""

from __future__ import annotations

import sys

from sweeper.cli.commands import run
from sweeper.cli.request import Request
from sweeper.errors import BadInput
from sweeper.planning.sweep import typed


def perform(request: Request) -> int:
    """Clear every recorded failure of the plan's stages, then `run`.

    Raises:
        BadInput: there is no such sweep, or none of the cells that were named is one of its.
    """
    recorded, plan = request.sweep.load(), request.plan
    words = typed(recorded["overrides"], recorded["launcher"])
    if not {cell["key"] for cell in recorded["cells"]} & {cell.key for cell in plan.cells}:
        raise BadInput(
            "name",
            request.sweep.name,
            "these are not the cells of that sweep.",
            "It was run with: " + (words or "no arguments"),
        )
    cleared = sum(request.store.clear_failure(stage.record()) for stage in plan.stages.values())
    print(f"isorate: {cleared} failures forgotten", file=sys.stderr)
    return run.perform(request)
