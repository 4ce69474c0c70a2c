"""The race of a sweep as its results carry it, for reports."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sweeper.planning.race.state import State
from sweeper.planning.sweep import Sweep
from sweeper.results.race import advance, telling

if TYPE_CHECKING:
    from analysis.data.race_record import RaceRecord
    from analysis.data.results import Results


def with_race(results: Results, sweep: Sweep) -> Results:
    """The results with the decisions of the race that the sweep is, if it is one."""
    return replace(results, race=record(advance.under_way(sweep)))


def record(race: State | None) -> RaceRecord | None:
    """The decisions so far; None before the first, and without a race."""
    from analysis.data.race_record import RaceRecord

    if race is None or len(race.looks) < 2:
        return None
    looks = tuple(one["decision"] for one in race.looks[1:])
    return RaceRecord(looks=looks, names=telling.labels(race))
