"""A sweep's race as its results carry it, for tables, charts and sentences of a report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sweeper.planning.race import state
from sweeper.planning.sweep import Sweep
from sweeper.results.race import telling

if TYPE_CHECKING:
    from analysis.data.results import Results


def with_race(results: Results, sweep: Sweep) -> Results:
    """The results with the decisions of the sweep's race, where it has decided a look."""
    from analysis.data.race_record import RaceRecord

    found = state.read(sweep.path)
    if found is None or len(found.looks) < 2:  # look 0 has the dense cell alone
        return results
    looks = tuple(one["decision"] for one in found.looks[1:])
    return replace(results, race=RaceRecord(looks=looks, names=telling.labels(found)))
