"""Decides a look: who is beaten by whom, who goes on, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.race.decision import CellResult, Decision, GroupResult, PairResult, State
from analysis.race.estimator import Estimates, estimates
from analysis.race.field import CellAnswers, Field, Group, answered, at_look
from analysis.race.pairs import corrected, tested, unknown
from analysis.race.rules import Rule, rule
from analysis.race.schedule import Look, looks
from analysis.race.settings import FEWEST_DISCORDANT, RaceSettings

UNANSWERED = "it has not answered the documents of this look"
Answered = Mapping[str, CellAnswers]


def decide(
    settings: RaceSettings,
    field: Field,
    answers: Answered,
    earlier: Sequence[Decision] = (),
    *,
    dropped: Mapping[str, str] | None = None,
) -> Decision:
    """The decision of the look that follows the earlier ones.

    A pure function: the same answers give the same record, on any machine. Answers to documents
    beyond the look are left aside; a cell that should have been asked and has not answered leaves
    the race without a verdict.

    Args:
        settings: those of the race, the same at every look.
        field: who races whom; the same at every look.
        answers: cell -> leaf -> its answers, in the seeded order.
        earlier: the recorded decisions, oldest first.
        dropped: cell -> why it takes no further part (it failed, it collapsed).

    Raises:
        ValueError: the settings are not those of the earlier looks, or the race is over.
    """
    if earlier and (other := settings.changed(earlier[-1].settings)):
        raise ValueError(f"a race that has begun keeps its settings; changed: {', '.join(other)}")
    if earlier and earlier[-1].over:
        raise ValueError("the race is over")
    number = len(earlier) + 1
    before = earlier[-1] if earlier else None
    races = {
        model: _Race.of(settings, field, model, answers, before, dropped or {})
        for model in field.contests
    }
    pairs = [
        _pairs(settings, group, races[group.model], before, tests)
        for group, tests in zip(field.groups, field.tests(settings.family), strict=True)
    ]
    corrected_pairs = corrected(settings, pairs, number)
    groups = tuple(
        _group(settings, group, races[group.model], own, before)
        for group, own in zip(field.groups, corrected_pairs, strict=True)
    )
    cells = _cells(races, before)
    return Decision(
        look=number,
        per_task=max(race.look.per_task for race in races.values()),
        settings=settings,
        spent=max(race.rule.spent(number, settings.alpha) for race in races.values()),
        groups=groups,
        cells=cells,
        ask=_ask(settings, field, groups, cells, races),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Race:
    """The cells of one model at one look.

    Attributes:
        look: the look.
        last: whether all documents are asked by then.
        rule: of the tests.
        found: of the cells that were asked.
        dropped: cell -> why it leaves.
    """

    look: Look
    last: bool
    rule: Rule
    found: Estimates
    dropped: Mapping[str, str]

    @classmethod
    def of(
        cls,
        settings: RaceSettings,
        field: Field,
        model: str,
        answers: Answered,
        before: Decision | None,
        dropped: Mapping[str, str],
    ) -> _Race:
        contest, number = field.contests[model], before.look + 1 if before else 1
        schedule = looks(contest.leaves, settings.first_look)
        look = schedule[min(number, len(schedule)) - 1]
        own = [cell for cell in field.cells if field.model_of(cell) == model]
        asked = [cell for cell in own if before is None or cell in before.ask]
        out = {cell: UNANSWERED for cell in asked if not answered(answers.get(cell, {}), look)}
        out |= {cell: dropped[cell] for cell in own if cell in dropped}
        here = {cell: at_look(answers[cell], look) for cell in asked if cell not in out}
        return cls(
            look=look,
            last=number >= len(schedule),
            rule=rule(settings, contest, schedule),
            found=estimates(contest, here, settings.by),
            dropped=out,
        )


def _cells(races: Mapping[str, _Race], before: Decision | None) -> tuple[CellResult, ...]:
    """Every cell that was asked so far, as of its last look."""
    kept = {one.cell: one for one in before.cells} if before else {}
    for race in races.values():
        found = race.found
        for cell, value, variance in zip(
            found.cells, found.value.tolist(), np.diag(found.covariance).tolist(), strict=True
        ):
            kept[cell] = CellResult(
                cell=cell,
                look=race.look.number,
                documents=found.documents,
                value=value,
                stderr=math.sqrt(variance),
            )
    return tuple(kept.values())


def _pairs(
    settings: RaceSettings, group: Group, race: _Race, before: Decision | None, tests: int
) -> list[PairResult]:
    """The rivals of a group with their p values, before the correction over so many tests."""
    recorded = before.group(group.name) if before else None
    if recorded and recorded.state != "racing":
        return list(recorded.pairs)
    known = {(p.first, p.second): p for p in recorded.pairs} if recorded else {}
    return [
        tested(
            known.get((first, second)) or unknown(first, second),
            race.found,
            look=race.look.number,
            rule=race.rule,
            alpha=settings.alpha / tests,
        )
        for first, second in group.rivals()
    ]


def _group(
    settings: RaceSettings,
    group: Group,
    race: _Race,
    pairs: Sequence[PairResult],
    before: Decision | None,
) -> GroupResult:
    """Survivors of a group and whether they go on."""
    recorded = before.group(group.name) if before else None
    if recorded and recorded.state != "racing":
        return replace(recorded, pairs=tuple(pairs))
    beaten: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        if pair.beaten:
            beaten[pair.beaten] = (*beaten.get(pair.beaten, ()), pair.better)
    dropped = dict(recorded.dropped) if recorded else {}
    dropped |= {c: why for c, why in race.dropped.items() if c in group.cells and c not in beaten}
    survivors = tuple(c for c in group.cells if c not in beaten and c not in dropped)
    state, why = _state(settings, group, survivors, pairs, last=race.last)
    return GroupResult(
        name=group.name,
        model=group.model,
        state=state,
        look=race.look.number,
        why=why,
        survivors=survivors,
        beaten=beaten,
        dropped=dropped,
        pairs=tuple(pairs),
    )


def _state(
    settings: RaceSettings,
    group: Group,
    survivors: Sequence[str],
    pairs: Sequence[PairResult],
    *,
    last: bool,
) -> tuple[State, str]:
    """Whether a group goes on, and why in words."""
    left = set(survivors)
    open_pairs = [p for p in pairs if {p.first, p.second} <= left]
    if not open_pairs:
        told = "cell survives" if len(left) == 1 else "cells survive, of one method"
        return "decided", f"{len(left)} {told}" if left else "no cell is left"
    if settings.margin is not None and all(_equal(p, settings.margin, last) for p in open_pairs):
        return "equivalent", f"{len(left)} survivors differ by less than {settings.margin:g}"
    if last:
        return "ended", f"all documents are asked; {len(left)} cells cannot be told apart"
    return "racing", f"{len(left)} cells of {len(group.cells)} go on"


def _equal(pair: PairResult, margin: float, last: bool) -> bool:
    """Whether the interval of a difference lies within the margin, on documents enough to say so.

    Two cells that answer nearly all alike are asked on: of few differing documents V says little.
    """
    if pair.low is None or pair.high is None:
        return False
    enough = pair.discordant >= FEWEST_DISCORDANT or last
    return enough and max(abs(pair.low), abs(pair.high)) <= margin


def _ask(
    settings: RaceSettings,
    field: Field,
    groups: Sequence[GroupResult],
    cells: Sequence[CellResult],
    races: Mapping[str, _Race],
) -> tuple[str, ...]:
    """The cells that the next look asks: survivors that race, and loners not yet known enough."""
    racing = {c for group in groups if group.state == "racing" for c in group.survivors}
    if settings.stderr is not None:
        known = {one.cell: one.stderr for one in cells}
        racing |= {
            cell
            for cell, model in field.alone.items()
            if known.get(cell, 0.0) > settings.stderr
            and not races[model].last
            and cell not in races[model].dropped
        }
    return tuple(cell for cell in field.cells if cell in racing)
