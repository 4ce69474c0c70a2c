"""``isorate retry``: forget the failures of a sweep and run it again."""

from __future__ import annotations

import sys

from sweeper.cli import racing
from sweeper.cli.commands import run
from sweeper.cli.request import Request
from sweeper.errors import BadInput
from sweeper.planning.race import state
from sweeper.planning.sweep import typed


def perform(request: Request) -> int:
    """Clear every recorded failure of the plan's stages, then `run`.

    Raises:
        BadInput: there is no such sweep, or none of the cells that were named is one of its.
    """
    recorded, plan = request.sweep.load(), request.plan
    words = typed(recorded["overrides"], recorded["launcher"])
    own = {cell.get("raced", cell["key"]) for cell in recorded["cells"]}
    if not own & {cell.key for cell in plan.cells}:
        raise BadInput(
            "name",
            request.sweep.name,
            "these are not the cells of that sweep.",
            "It was run with: " + (words or "no arguments"),
        )
    stages = {key: stage.record() for key, stage in plan.stages.items()}
    if racing.asked_for(request) and (race := state.read(request.sweep.path)) is not None:
        stages |= dict(race.plan["stages"])
    cleared = sum(request.store.clear_failure(stage) for stage in stages.values())
    print(f"isorate: {cleared} failures forgotten", file=sys.stderr)
    return run.perform(request)
