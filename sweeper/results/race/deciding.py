"""What follows from a look of a race, as the record that is kept of it; a pure function of results.

Look 0: every checkpoint is made and measured, and the dense cells have answered everything. From
that follow the field (who races whom, over how many documents) and what the first look asks.
Each further look: what `analysis.race` decides, and what the next one asks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from analysis.data.results import Results
from analysis.race.decide import decide
from analysis.race.decision import Decision
from analysis.race.field import Contest, Field, Group
from analysis.race.reading import NotRaceable, answers_of, field_of
from analysis.race.schedule import Leaf, Look, looks
from analysis.race.settings import RaceSettings
from sweeper.errors import IsorateError
from sweeper.planning.race.record import LookRecord
from sweeper.planning.race.state import State
from sweeper.results import tables
from sweeper.results.outcomes import CellOutcome
from sweeper.results.race import margins


def steady(outcomes: Sequence[CellOutcome]) -> list[CellOutcome]:
    """The cells under the keys that stay from look to look: those of the plan without a race."""
    return [
        replace(one, cell={**one.cell, "key": one.cell.get("raced", one.key)}) for one in outcomes
    ]


def decided(state: State, outcomes: Sequence[CellOutcome]) -> LookRecord:
    """The record of the look under way, all of whose cells are done or have failed.

    Raises:
        IsorateError: no race can be held over these answers.
    """
    return followed(state, tables.results(steady(outcomes)))


def followed(
    state: State, results: Results, dropped: Mapping[str, str] | None = None
) -> LookRecord:
    """The record of the look under way.

    Args:
        state: the race so far.
        results: of that look, or of a later one: documents beyond it are left aside. Cells have
            their steady keys.
        dropped: cell -> why it left the race here, where a record says so; else it is found.

    Raises:
        IsorateError: no race can be held over these answers, or none with this margin.
    """
    settings = RaceSettings.from_json(state.begun["settings"])
    try:
        if not state.number:
            return _begun(state, settings, field_of(results, settings.by))
        field = field_from(state.looks[0])
        answers, out = answers_of(results, field)
    except NotRaceable as refused:
        raise IsorateError(f"no race: {refused}") from refused
    if dropped is None:
        dropped = {cell: why for cell, why in out.items() if cell in state.racing}
    known = decisions(state.looks)
    made = decide(settings, field, answers, known, dropped=dropped)
    return {
        "dropped": dict(dropped),
        "decision": made.to_json(),
        "asks": _asks(state, settings, field, made.ask),
        "racing": list(made.ask),
        "over": made.over,
    }


def field_from(record: LookRecord) -> Field:
    """The field of a race from the record of its look 0."""
    kept = record["field"]
    return Field(
        contests={
            model: Contest(**{**one, "leaves": tuple(Leaf(**leaf) for leaf in one["leaves"])})
            for model, one in kept["contests"].items()
        },
        groups=tuple(
            Group(**{**one, "cells": tuple(one["cells"]), "methods": tuple(one["methods"])})
            for one in kept["groups"]
        ),
        alone=kept["alone"],
    )


def decisions(records: Sequence[LookRecord]) -> list[Decision]:
    """What was decided at each look from the first one on."""
    return [Decision.from_json(one["decision"]) for one in records[1:]]


def _begun(state: State, settings: RaceSettings, field: Field) -> LookRecord:
    margins.check(settings, field)
    contests = field.contests.items()
    return {
        "field": {
            "contests": {model: asdict(one) for model, one in contests},
            "groups": [asdict(group) for group in field.groups],
            "alone": dict(field.alone),
        },
        "sizes": {m: {leaf.name: leaf.size for leaf in one.leaves} for m, one in contests},
        "asks": _asks(state, settings, field, field.cells),
        "racing": list(field.cells),
        "over": False,
    }


def _asks(
    state: State, settings: RaceSettings, field: Field, cells: Collection[str]
) -> dict[str, Any]:
    """What every cell is asked by the next look: these by its schedule, others as before."""
    asks = dict(state.limits)
    schedules = {m: looks(c.leaves, settings.first_look) for m, c in field.contests.items()}
    for cell in cells:
        contest = field.contests[field.model_of(cell)]
        schedule = schedules[contest.model]
        asks[cell] = _limits(contest, schedule[min(state.number, len(schedule) - 1)])
    return asks


def _limits(contest: Contest, look: Look) -> dict[str, int | None]:
    """Leaf -> the first so many documents; None where these are all, as without a race."""
    sizes = {leaf.name: leaf.size for leaf in contest.leaves}
    return {leaf: n if n < sizes[leaf] else None for leaf, n in look.counts.items()}
