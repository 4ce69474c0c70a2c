"""Brings a race as far as its answers carry it; run by whoever is there when a look ends.

Any number of processes may do so at once, and each may be killed anywhere: a look is decided once,
and its plan is the same plan whoever writes it down.
"""

from __future__ import annotations

from sweeper.planning.plan import PART
from sweeper.planning.race import record, state
from sweeper.planning.race.state import State
from sweeper.planning.record import SweepRecord
from sweeper.planning.sweep import LOOK, Sweep, nested
from sweeper.results import outcomes
from sweeper.store import files
from sweeper.store.spec import Spec
from sweeper.store.store import Store


def under_way(sweep: Sweep) -> State | None:
    """The race that a sweep is; None if it is none, or was asked for documents without it since."""
    found = state.read(sweep.path)
    if found is None or not sweep.planned or LOOK not in files.read_json(sweep.plans[-1]):
        return None
    return found


def advance(sweep: Sweep, store: Store) -> State:
    """Decide every look whose cells are done, and write down the plan of the next one.

    Returns:
        The race as it is now: its look under way has something to be done, or it is over.

    Raises:
        IsorateError: no race can be held over these answers.
    """
    while True:
        now = state.read(sweep.path)
        assert now is not None, "a race begins before it advances"
        begun = now.begun
        sweep.record_look(now.plan, now.number, now.since, begun["overrides"], begun["checkpoints"])
        if now.over:
            return now
        found = outcomes.collect(_alone(sweep, now), store)
        if any(outcome.status == "missing" for outcome in found):
            return now
        from sweeper.results.race import deciding

        record.decide(sweep.path, now.number, deciding.decided(now, found))


def _alone(sweep: Sweep, now: State) -> SweepRecord:
    """The look under way as the only plan of a sweep."""
    return {
        "name": sweep.name,
        "created": now.since,
        "overrides": now.begun["overrides"],
        "checkpoints": now.begun["checkpoints"],
        "cells": now.plan["cells"],
        "stages": nested(now.plan["stages"]),
        "superseded": [],
        "launcher": [],
    }


def specs(now: State, store: Store) -> list[Spec]:
    """The stages of the look under way, parents inside.

    Evaluations have the seconds that they are expected to take: what the dense cell needed for a
    document, for each that is new.
    """
    plan = now.plan
    found = nested(plan["stages"])
    sizes = now.sizes
    rates = {
        (cell["model"], task): _seconds_per_document(found[key], store)
        for cell in plan["cells"]
        if state.is_dense(cell)
        for task, key in cell["stages"]["evaluate"].items()
    }
    for cell in plan["cells"]:
        before = now.before.get(cell["raced"], {})
        for task, key in cell["stages"]["evaluate"].items():
            size = sizes.get(cell["model"], {}).get(task)
            if size is not None and (rate := rates.get((cell["model"], task))):
                asked, was = found[key]["params"]["limit"] or size, before.get(task, 0)
                new = max(0, min(asked, size) - (size if was is None else was))
                parts = [p for role, p in found[key]["parents"].items() if role.startswith(PART)]
                for spec in parts or [found[key]]:
                    spec["estimate_s"] = round(max(rate * new / max(1, len(parts)), 0.01), 2)
    return list(found.values())


def _seconds_per_document(spec: Spec, store: Store) -> float:
    """Of an evaluation that is done; 0 if it is not."""
    result = store.result(spec) or {}
    documents, seconds = result.get("n_docs") or 0, float(result.get("seconds") or 0.0)
    return seconds / documents if documents else 0.0
