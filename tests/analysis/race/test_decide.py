"""Decisions of a race."""

from __future__ import annotations

import json

import numpy as np
import pytest

from analysis.race.decide import UNANSWERED, decide
from analysis.race.decision import Decision
from analysis.race.field import CellAnswers, Field, Group
from analysis.race.schedule import looks
from analysis.race.settings import BadSettings, RaceSettings
from tests.analysis.race.fields import race

SIZES = {"pro": [1500, 300, 40], "math": [900]}
LEVELS = {"a": 0.6, "b": 0.5, "c": 0.3, "d": 0.59}


def run(
    settings: RaceSettings, field: Field, answers: dict[str, CellAnswers], **dropped: str
) -> list[Decision]:
    found: list[Decision] = []
    while not found or not found[-1].over:
        found.append(decide(settings, field, answers, found, dropped=dropped))
    return found


@pytest.mark.parametrize("rule", ["anytime", "spending"])
@pytest.mark.parametrize("family", ["group", "sweep"])
def test_the_worse_are_beaten_early_and_near_ties_are_asked_everything(
    rule: str, family: str
) -> None:
    settings = RaceSettings.from_json(RaceSettings().to_json() | {"rule": rule, "family": family})
    field, answers = race(SIZES, LEVELS)
    found = run(settings, field, answers)
    group = found[-1].groups[0]
    assert group.state == "ended"
    assert group.survivors == ("a", "d")
    assert group.beaten.keys() == {"b", "c"}
    gone = {cell: next(d.look for d in found if cell not in d.ask) for cell in "bc"}
    assert gone["c"] <= 2
    assert gone["c"] <= gone["b"] < len(found)


def test_what_is_recorded_is_read_back_and_recomputed() -> None:
    field, answers = race(SIZES, LEVELS)
    found = run(RaceSettings(), field, answers)
    read = [Decision.from_json(json.loads(json.dumps(one.to_json()))) for one in found]
    assert read == found
    assert decide(RaceSettings(), field, answers, read[:2]) == found[2]
    with pytest.raises(ValueError, match="format 0"):
        Decision.from_json(found[0].to_json() | {"format": 0})


def test_a_look_needs_no_answers_beyond_it() -> None:
    field, answers = race(SIZES, LEVELS)
    found = run(RaceSettings(), field, answers)
    schedule = looks(field.contests["m"].leaves, 128)
    enough = {}
    for cell in LEVELS:
        last = max(one.look for one in found if cell in _asked(one, found))
        counts = schedule[last - 1].counts
        enough[cell] = {leaf: one.first(counts[leaf]) for leaf, one in answers[cell].items()}
    assert run(RaceSettings(), field, enough) == found


def _asked(decision: Decision, found: list[Decision]) -> tuple[str, ...]:
    """Who was asked for a decision."""
    return found[decision.look - 2].ask if decision.look > 1 else tuple(LEVELS)


def test_survivors_within_the_margin_are_done() -> None:
    field, answers = race(SIZES, {"a": 0.6, "d": 0.6}, alike=0.98)
    found = run(RaceSettings(margin=0.08), field, answers)
    assert found[-1].groups[0].state == "equivalent"
    assert len(found) < len(looks(field.contests["m"].leaves, 128))
    pair = found[-1].groups[0].pairs[0]
    assert max(abs(pair.low or 1), abs(pair.high or 1)) <= 0.08


def test_few_differing_documents_decide_nothing() -> None:
    field, answers = race({"t": [128, 128]}, {"a": 0.6, "b": 0.6}, alike=0.999)
    one, two = (answers[cell] for cell in "ab")
    for leaf in one:  # 8 documents in 256 differ, all for a
        right = two[leaf].numerator.copy()
        one[leaf].numerator[:] = right
        wrong = np.flatnonzero(right == 0)[:4]
        one[leaf].numerator[wrong] = 1.0
    found = run(RaceSettings(), field, answers)
    pair = found[-1].groups[0].pairs[0]
    assert pair.discordant == 8
    assert pair.p == 1.0
    assert found[-1].groups[0].state == "ended"


def test_cells_of_one_method_are_no_rivals() -> None:
    field, answers = race(SIZES, {"a": 0.6, "a2": 0.5, "b": 0.3})
    groups = (Group(name="g", model="m", cells=("a", "a2", "b"), methods=("x", "x", "y")),)
    found = run(RaceSettings(), Field(contests=field.contests, groups=groups, alone={}), answers)
    group = found[-1].groups[0]
    assert [(p.first, p.second) for p in group.pairs] == [("a", "b"), ("a2", "b")]
    assert group.state == "decided"
    assert group.survivors == ("a", "a2")


def test_a_cell_without_a_rival_is_asked_the_first_look_or_up_to_a_standard_error() -> None:
    field, answers = race(SIZES, LEVELS | {"e": 0.4}, groups={"g": ["a", "c"]})
    first = decide(RaceSettings(), field, answers)
    assert set(first.ask) <= {"a", "c"}
    asked = [d for d in run(RaceSettings(stderr=0.03), field, answers) if "e" in d.ask]
    last = run(RaceSettings(stderr=0.03), field, answers)[len(asked)]
    assert asked
    assert next(one.stderr for one in last.cells if one.cell == "e") <= 0.03


def test_a_cell_that_fails_leaves_without_a_verdict() -> None:
    field, answers = race(SIZES, LEVELS)
    silent = {cell: own for cell, own in answers.items() if cell != "d"}
    first = decide(RaceSettings(), field, silent, dropped={"b": "out of memory"})
    assert first.groups[0].dropped == {"b": "out of memory", "d": UNANSWERED}
    assert not {"b", "d"} & set(first.ask)


def test_a_pair_of_two_groups_is_one_test_of_a_sweep() -> None:
    field, answers = race(SIZES, LEVELS, groups={"rate": ["a", "b", "c"], "size": ["b", "a", "d"]})
    assert field.tests("group") == [3, 3]
    assert field.tests("sweep") == [5, 5]
    found = run(RaceSettings(family="sweep"), field, answers)
    by_group = [{(p.first, p.second): p for p in g.pairs} for g in found[-1].groups]
    assert by_group[0]["a", "b"] == by_group[1]["a", "b"]


def test_a_race_keeps_its_settings_and_ends() -> None:
    field, answers = race(SIZES, LEVELS)
    found = run(RaceSettings(), field, answers)
    with pytest.raises(ValueError, match="changed: alpha"):
        decide(RaceSettings(alpha=0.1), field, answers, found[:1])
    with pytest.raises(ValueError, match="is over"):
        decide(RaceSettings(), field, answers, found)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rule", "b"),
        ("family", "all"),
        ("by", "accuracy"),
        ("alpha", 0.0),
        ("alpha", 0.7),
        ("first_look", 64),
        ("assumed_spread", 0.0),
        ("margin", -0.1),
        ("stderr", 0.0),
    ],
)
def test_settings_that_no_race_can_have_are_refused(key: str, value: object) -> None:
    with pytest.raises(BadSettings) as refused:
        RaceSettings.from_json(RaceSettings().to_json() | {key: value})
    assert (refused.value.key, refused.value.value) == (key, value)
