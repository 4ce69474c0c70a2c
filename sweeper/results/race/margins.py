"""The least margin that all documents can show: a smaller one would never end a race."""

from __future__ import annotations

from math import sqrt

from analysis.race.expected import DOCUMENT_SPREAD
from analysis.race.field import Field
from analysis.race.rules import information, rule
from analysis.race.schedule import looks
from analysis.race.settings import RaceSettings
from sweeper.errors import BadInput

_FEW = 0.1
"""Share of documents that two cells of one rate answer otherwise, at the least."""


def check(settings: RaceSettings, field: Field) -> None:
    """Refuse a margin that all documents together cannot show.

    Raises:
        BadInput: with the least one that they can.
    """
    if settings.margin is None:
        return
    few = least(settings, field, sqrt(_FEW))
    if settings.margin < few:
        usual = least(settings, field, DOCUMENT_SPREAD)
        raise BadInput(
            "tasks.race.margin",
            settings.margin,
            f"all documents together can show {few:.2g} or more, if two cells answer a tenth of "
            f"them otherwise, {usual:.2g} if a quarter.",
            "State a larger margin, or none.",
        )


def least(settings: RaceSettings, field: Field, spread: float) -> float:
    """Half the width of the narrowest interval of a difference when all documents are asked.

    Args:
        settings: of the race.
        field: who races.
        spread: standard deviation of a document's difference between two cells.
    """
    found = []
    for group, tests in zip(field.groups, field.tests(settings.family), strict=True):
        contest = field.contests[group.model]
        schedule = looks(contest.leaves, settings.first_look)
        variance = spread**2 / information(contest, schedule, settings.by)[-1]
        test = rule(settings, contest, schedule)
        found.append(
            test.boundary(len(schedule), variance, settings.alpha / tests) * sqrt(variance)
        )
    return float(min(found, default=0.0))
