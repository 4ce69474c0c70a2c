"""``isorate run``: carry out the plan, then report and log. Run again to resume."""

from __future__ import annotations

import logging

from sweeper.cli import live_sync, reporting
from sweeper.cli.commands.plan import outdated, warned
from sweeper.cli.request import Request
from sweeper.inputs import availability
from sweeper.planning import chosen_launcher, retention
from sweeper.planning.sweep import nested, plan_json
from sweeper.store.reader import called
from sweeper.store.spec import Spec

log = logging.getLogger(__name__)


def perform(request: Request) -> int:
    """Carry out what is missing of the plan; 0 if all of its cells are done, else 1.

    A cluster's jobs are waited for with `wait`; else those in its hands count as well.
    """
    request.store.check()
    plan, spent, sweep = request.plan, request.cost, request.sweep
    request.store.check(spent.peak_bytes if spent.pending else 0)
    if old := outdated(plan, spent):
        log.info("%s", old)
    for note in plan.notes:
        log.info("note: %s", note)
    for warning in warned(request):
        log.warning("%s", warning)
    specs = specs_of(request)
    todo = [specs[key] for key in specs if key in spent.pending]
    availability.before_submission(todo, pinned=bool(request.pins))
    sweep.record(plan, request.arguments, request.config.checkpoints)
    if other := chosen_launcher.remember(sweep.path, chosen_launcher.choice(request.config)):
        log.warning("%s", other)
    drop = retention.Dropper(
        request.store, request.home, list(specs.values()), request.config.checkpoints
    )
    with live_sync.followed(request):
        outcome = request.launcher.carry_out(
            list(specs.values()),
            request.store,
            observer=request.launcher.observer(
                sweep.name, {cell.key: cell.lineage for cell in plan.cells}
            ),
            logs=sweep.logs,
            on_done=drop,
        )
    if request.config.wait:
        reporting.wait(request)
    ended = [
        reporting.Ended(key=key, stage=called(specs[key]), reason=o.reason, lasting=o.lasting)
        for key, o in outcome.stages.items()
        if o.state == "ended"
    ]
    return reporting.conclude(request, keys={cell.key for cell in plan.cells}, ended=ended)


def specs_of(request: Request) -> dict[str, Spec]:
    """The stages that may have to be run, as the launcher takes them, with their estimates."""
    specs = nested(plan_json(request.todo)["stages"])
    for key, estimate in request.cost.estimates.items():
        specs[key]["estimate_s"] = round(estimate.seconds, 2)
    return specs
