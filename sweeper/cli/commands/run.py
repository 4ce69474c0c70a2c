"""``isorate run``: carry out the plan, then report and log. Run again to resume."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from sweeper.cli import live_sync, racing, reporting
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
    raced = racing.check(request) if racing.asked_for(request) else None
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
    if raced:
        race = racing.begin(request, raced)
    else:
        sweep.record(plan, request.arguments, request.config.checkpoints)
    if other := chosen_launcher.remember(sweep.path, chosen_launcher.choice(request.config)):
        log.warning("%s", other)
    with live_sync.followed(request):
        if raced:
            outcome, specs = racing.carry_out(request, race)
        else:
            outcome = _carry_out(request, specs)
    if request.config.wait:
        reporting.wait(request)
    keys = racing.keys(request) if raced else {cell.key for cell in plan.cells}
    ended = [
        reporting.Ended(key=key, stage=called(specs[key]), reason=o.reason, lasting=o.lasting)
        for key, o in outcome.stages.items()
        if o.state == "ended"
    ]
    return reporting.conclude(request, keys=keys, ended=ended)


def _carry_out(request: Request, specs: Mapping[str, Spec]) -> Any:
    drop = retention.Dropper(
        request.store, request.home, list(specs.values()), request.config.checkpoints
    )
    return request.launcher.carry_out(
        list(specs.values()),
        request.store,
        observer=request.launcher.observer(
            request.sweep.name, {cell.key: cell.lineage for cell in request.plan.cells}
        ),
        logs=request.sweep.logs,
        on_done=drop,
    )


def specs_of(request: Request) -> dict[str, Spec]:
    """The stages that may have to be run, as the launcher takes them, with their estimates."""
    specs = nested(plan_json(request.todo)["stages"])
    for key, estimate in request.cost.estimates.items():
        specs[key]["estimate_s"] = round(estimate.seconds, 2)
    return specs
