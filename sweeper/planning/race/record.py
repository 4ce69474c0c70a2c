"""What a race leaves with its sweep: how it is run, and one record of each look, written once.

<sweep>/race/begun.json      settings, the plan without a race, what was typed
<sweep>/race/look-<n>.json   what was asked, what followed, what is asked next; look 0 has the
                             checkpoints and the dense cell's answers

Of several processes that decide the same look one writes it, and the others read what it wrote.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from sweeper.planning import moved_home
from sweeper.planning.record import PlanBody
from sweeper.store import files

FOLDER = "race"
BEGUN = f"{FOLDER}/begun.json"

Limits = Mapping[str, Mapping[str, int | None]]
"""Key of a cell of the base plan -> leaf task -> its first documents; None: as without a race."""
Sizes = Mapping[str, Mapping[str, int]]
"""Model -> leaf task -> documents that the plan without a race asks."""


class Begun(TypedDict):
    """How a race is run.

    ``settings`` are those of `analysis.race.settings`, ``base`` is the plan without a race,
    ``overrides`` and ``checkpoints`` are as of a plan, ``home`` is where the home was.
    """

    settings: Mapping[str, Any]
    base: PlanBody
    overrides: Sequence[str]
    checkpoints: str
    home: NotRequired[str]
    created: NotRequired[str]


class LookRecord(TypedDict):
    """What followed from a look.

    ``asks`` is what every cell is asked from then on, ``racing`` are those that may be asked more.
    Look 0 has ``field`` (`analysis.race.field`, as JSON) and ``sizes``, each further one
    ``decision`` (`analysis.race.decision`) and ``dropped``: cell -> why it left the race here.
    """

    asks: Limits
    racing: Sequence[str]
    over: bool
    field: NotRequired[Mapping[str, Any]]
    sizes: NotRequired[Sizes]
    decision: NotRequired[Mapping[str, Any]]
    dropped: NotRequired[Mapping[str, str]]
    look: NotRequired[int]
    created: NotRequired[str]


def begin(sweep: Path, value: Begun) -> Begun:
    """Write down how a race is run, unless that was done; what is written, by whomever."""
    home = {moved_home.HOME: str(_home(sweep))}
    found: Begun = moved_home.rebased(_once(sweep / BEGUN, {**home, **value}), _home(sweep))
    return found


def begun(sweep: Path) -> Begun | None:
    """How the race of a sweep is run; None if it has none."""
    found: Begun | None = _read(sweep / BEGUN)
    return None if found is None else moved_home.rebased(found, _home(sweep))


def decide(sweep: Path, number: int, value: LookRecord) -> LookRecord:
    """Write down what followed from a look, unless that was done; what is written, by whomever."""
    found: LookRecord = _once(_look(sweep, number), {"look": number, **value})
    return found


def looks(sweep: Path) -> list[LookRecord]:
    """The looks that were decided, look 0 first."""
    found: list[LookRecord] = []
    while (record := _read(_look(sweep, len(found)))) is not None:
        found.append(record)
    return found


def _home(sweep: Path) -> Path:
    return sweep.parent.parent


def _look(sweep: Path, number: int) -> Path:
    return sweep / FOLDER / f"look-{number}.json"


def _read(path: Path) -> Any:
    try:
        return files.read_json(path)
    except FileNotFoundError:
        return None


def _once(path: Path, value: Mapping[str, Any]) -> Any:
    files.write_once(path, {**_who(), **value})
    files.look_again(path.parent)
    return files.read_json(path)


def _who() -> dict[str, str]:
    """Who writes a record, and when."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    return {"created": now, "host": socket.gethostname(), "user": getpass.getuser()}
