"""``isorate work``: take the next ready stage of a sweep, again and again, on any machine."""

from __future__ import annotations

from collections.abc import Iterable

from sweeper.cli import reporting
from sweeper.cli.commands.run import specs_of
from sweeper.cli.request import Request
from sweeper.inputs import availability
from sweeper.planning import retention
from sweeper.planning.record import own_keys
from sweeper.results.importers import scores
from sweeper.store.spec import Spec


def perform(request: Request) -> int:
    """Carry out stages until none is left for this process; 0 if all cells are done, else 1.

    Any number of processes on any hosts of a shared file system may do so at once. The first
    one records the plan of its arguments; a sweep that has plans is taken as it is.
    """
    request.store.check()
    sweep, estimates = request.sweep, _estimates(request)
    made = request.launcher.work(sweep, estimates)
    outcomes = reporting.current(request, sweep.load(), None)
    whole = all(outcome.status == "done" for outcome in outcomes)
    freed = _drop(request) if whole else 0
    request.answer(
        {
            "name": sweep.name,
            "made": list(made),
            "freed_bytes": freed,
            "cells": [reporting.cell_state(outcome) for outcome in outcomes],
        },
        f"{reporting.states(outcomes)}\n\n{len(made)} stages were carried out here. When all are "
        f"done: isorate report name={sweep.name}",
    )
    return 0 if whole else 1


def _estimates(request: Request) -> dict[str, float]:
    """Key of each stage of the sweep -> expected seconds, as far as this command can tell."""
    sweep = request.sweep
    if not sweep.planned:
        specs = specs_of(request)
        availability.before_submission(list(specs.values()), pinned=bool(request.pins))
        sweep.record(request.plan, request.arguments, request.config.checkpoints)
        return {key: float(spec.get("estimate_s") or 1.0) for key, spec in specs.items()}
    record = sweep.load()
    brought = {outcome.key for outcome in scores.outcomes(sweep)}
    cells = (cell for cell in record["cells"] if cell["key"] not in brought)
    named = {key for cell in cells for key in own_keys(cell)}
    return dict.fromkeys(_with_ancestors(record["stages"][key] for key in named), 1.0)


def _with_ancestors(specs: Iterable[Spec]) -> set[str]:
    """Keys of stages and of all that they rest on."""
    found: set[str] = set()
    queue = list(specs)
    while queue:
        spec = queue.pop()
        if spec["key"] not in found:
            found.add(str(spec["key"]))
            queue += spec["parents"].values()
    return found


def _drop(request: Request) -> int:
    """Drop the checkpoints that the sweep's policy keeps no longer; bytes that were freed."""
    policy = str(request.sweep.load().get("checkpoints", "keep"))
    unread = retention.unread(request.store, retention.planned(request.home), policy)
    return sum(request.store.drop_bulk(spec) for spec in unread)
