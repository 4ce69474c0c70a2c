"""``isorate work``: take the next ready stage of a sweep, again and again, on any machine."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from sweeper.cli import racing, reporting
from sweeper.cli.commands.run import specs_of
from sweeper.cli.request import Request
from sweeper.inputs import availability
from sweeper.planning import retention
from sweeper.planning.race.state import State
from sweeper.planning.record import own_keys
from sweeper.results.importers import scores
from sweeper.results.race import advance, telling
from sweeper.store.spec import Spec

_LOOK_S = 2.0
"""Seconds between two looks at what others are at."""


def perform(request: Request) -> int:
    """Carry out stages until none is left for this process; 0 if all cells are done, else 1.

    Any number of processes on any hosts of a shared file system may do so at once. The first
    one records the plan of its arguments; a sweep that has plans is taken as it is. Of a race, the
    one that comes last to the end of a look decides it, and all go on with the next.
    """
    request.store.check()
    sweep = request.sweep
    made, estimates = [], _estimates(request)
    while estimates:
        made += request.launcher.work(sweep, estimates)
        estimates = _to_come(request, estimates)
    outcomes = reporting.current(request, sweep.load(), None)
    race = advance.under_way(sweep)
    whole = all(outcome.status == "done" for outcome in outcomes)
    whole = whole and (race is None or race.over)
    freed = _drop(request) if whole else 0
    request.answer(
        {
            "name": sweep.name,
            "made": made,
            "freed_bytes": freed,
            "cells": [reporting.cell_state(outcome) for outcome in outcomes],
        },
        f"{reporting.states(outcomes)}\n\n"
        + (f"{telling.text(race, outcomes)}\n\n" if race else "")
        + f"{len(made)} stages were carried out here. When all are "
        f"done: isorate report name={sweep.name}",
    )
    return 0 if whole else 1


def _estimates(request: Request) -> dict[str, float]:
    """Key of each stage of the sweep -> expected seconds, as far as this command can tell."""
    sweep = request.sweep
    if not sweep.planned:
        specs = specs_of(request)
        raced = racing.check(request) if racing.asked_for(request) else None
        availability.before_submission(list(specs.values()), pinned=bool(request.pins))
        if raced:
            return _of_look(request, racing.begin(request, raced))
        sweep.record(request.plan, request.arguments, request.config.checkpoints)
        return {key: float(spec.get("estimate_s") or 1.0) for key, spec in specs.items()}
    if advance.under_way(sweep) is not None:
        return _of_look(request, advance.advance(sweep, request.store))
    record = sweep.load()
    brought = {outcome.key for outcome in scores.outcomes(sweep)}
    cells = (cell for cell in record["cells"] if cell["key"] not in brought)
    named = {key for cell in cells for key in own_keys(cell)}
    return dict.fromkeys(_with_ancestors(record["stages"][key] for key in named), 1.0)


def _of_look(request: Request, race: State) -> dict[str, float]:
    specs = advance.specs(race, request.store)
    return {spec["key"]: float(spec.get("estimate_s") or 1.0) for spec in specs}


def _to_come(request: Request, worked: Mapping[str, float]) -> dict[str, float]:
    """What a race has for this process after these stages; {} if nothing.

    While others are at the last stages of a look, its end is waited for, and what they leave is
    taken up.
    """
    if advance.under_way(request.sweep) is None:
        return {}
    race = advance.advance(request.sweep, request.store)
    if race.over:
        return {}
    found = _of_look(request, race)
    if found.keys() == worked.keys():
        if found.keys().isdisjoint(request.store.running()):
            return {}
        time.sleep(_LOOK_S)
    return found


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
