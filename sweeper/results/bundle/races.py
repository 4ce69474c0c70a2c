"""The race of a sweep in a bundle: its records, and whether decisions follow from the answers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from sweeper.errors import IsorateError
from sweeper.planning.race.state import State
from sweeper.results.bundle.archive import json_bytes
from sweeper.results.bundle.difference import MOST, Difference
from sweeper.results.bundle.portable import Redact, portable
from sweeper.results.bundle.records import RACE, Records
from sweeper.results.race import deciding, telling

CLOSE = 1e-9
"""Relative: other processors and libraries add up in another order."""
_WRITTEN = ("created", "host", "user", "look")
"""Who wrote a record, and when: nothing follows from that, and it from nothing."""


def pack(race: State, redact: Redact, *, reported: bool) -> bytes:
    """The records of a race; of its plan only the cells, whose stages the bundle has anyway.

    Args:
        race: all that was decided.
        redact: takes secrets out of a text.
        reported: whether the sweep is this race still, and its report tells of it.
    """
    begun = {name: value for name, value in race.begun.items() if name != "base"}
    base = {"cells": list(race.begun["base"]["cells"])}
    kept = {
        "begun": {**begun, "base": base},
        "looks": list(race.looks),
        "names": telling.labels(race),
        "reported": reported,
    }
    return json_bytes(portable(kept, redact))


def check(data: bytes | None, held: Records) -> tuple[int, list[Difference]]:
    """How many looks were decided, and what of them does not follow from the documents.

    Args:
        data: what `pack` wrote; None where a sweep has no race.
        held: the cells of the bundle.
    """
    if data is None:
        return 0, []
    try:
        kept = json.loads(data)
        found = islice(_parted(kept, held), MOST)
        return len(kept["looks"]), list(found)
    except (IsorateError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"is no record of a race any more ({type(error).__name__}: {error})"
        return 0, [Difference(kind="file", where=RACE, recorded="", found=why)]


def _parted(kept: Mapping[str, Any], held: Records) -> Iterator[Difference]:
    results = replace(held, outcomes=tuple(deciding.steady(held.outcomes))).results()
    for number, recorded in enumerate(kept["looks"]):
        before = State(begun=kept["begun"], looks=kept["looks"][:number])
        made = deciding.followed(before, results, recorded.get("dropped"))
        own = {name: value for name, value in recorded.items() if name not in _WRITTEN}
        for where, one, other in _differences(own, json.loads(json.dumps(made)), ""):
            at = f"look {number} of the race, {where}"
            yield Difference(kind="decision", where=at, recorded=one, found=other)


def _differences(one: Any, other: Any, where: str) -> Iterator[tuple[str, str, str]]:
    """The places at which two JSON values part."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in sorted(one.keys() | other.keys()):
            below = f"{where}.{name}" if where else name
            yield from _differences(one.get(name), other.get(name), below)
    elif _is_list(one) and _is_list(other) and len(one) == len(other):
        for place, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from _differences(mine, theirs, f"{where}[{place}]")
    elif not _same(one, other):
        yield where, json.dumps(one), json.dumps(other)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=CLOSE, abs_tol=1e-12)
    return bool(one == other)
