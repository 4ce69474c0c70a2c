"""Rivals: the test of a difference at a look, and the correction over its family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analysis.race.decision import PairResult
from analysis.race.estimator import Estimates
from analysis.race.rules import Rule
from analysis.race.settings import FEWEST_DISCORDANT, RaceSettings
from analysis.statistics.holm import holm


def unknown(first: str, second: str) -> PairResult:
    """Two rivals before the first look."""
    return PairResult(
        first=first,
        second=second,
        look=0,
        documents=0,
        discordant=0,
        difference=0.0,
        variance=0.0,
        z=0.0,
        boundary=0.0,
        low=None,
        high=None,
        p=1.0,
        better="",
        adjusted=1.0,
        decided=0,
    )


def tested(
    known: PairResult, found: Estimates, *, look: int, rule: Rule, alpha: float
) -> PairResult:
    """A pair as of a look; as it was where not both were asked.

    Args:
        known: what was recorded of it before.
        found: of the cells that were asked.
        look: its number.
        rule: of the tests.
        alpha: the level of this pair if no other of its family is told.
    """
    if not {known.first, known.second} <= set(found.cells):
        return known
    difference, variance = found.difference(known.first, known.second)
    discordant = found.differing(known.first, known.second)
    now = replace(
        known,
        look=look,
        documents=found.documents,
        discordant=discordant,
        difference=difference,
        variance=variance,
    )
    if not variance > 0:
        return replace(now, z=0.0)
    root = math.sqrt(variance)
    z, boundary = difference / root, float(rule.boundary(look, variance, alpha))
    reach = boundary * root
    now = replace(now, z=z, boundary=boundary, low=difference - reach, high=difference + reach)
    p = float(rule.p(z, variance, look))
    if discordant < FEWEST_DISCORDANT or p >= known.p:
        return now
    return replace(now, p=p, better=known.first if difference > 0 else known.second)


def corrected(
    settings: RaceSettings, pairs: Sequence[Sequence[PairResult]], look: int
) -> list[list[PairResult]]:
    """The pairs with Holm's p values over their family.

    A pair that is in two groups is one test of a family over all of them.
    """
    if settings.family == "group":
        return [_holm(settings, own, look) for own in pairs]
    latest = sorted((pair for own in pairs for pair in own), key=lambda pair: pair.look)
    every = {(pair.first, pair.second): pair for pair in latest}
    found = {(pair.first, pair.second): pair for pair in _holm(settings, [*every.values()], look)}
    return [[found[pair.first, pair.second] for pair in own] for own in pairs]


def _holm(settings: RaceSettings, pairs: Sequence[PairResult], look: int) -> list[PairResult]:
    adjusted = holm(np.array([pair.p for pair in pairs]))
    return [
        replace(
            pair,
            adjusted=float(value),
            decided=pair.decided or (look if pair.better and value <= settings.alpha else 0),
        )
        for pair, value in zip(pairs, adjusted.tolist(), strict=True)
    ]
