"""What a race leaves with its sweep: how it is run, and one record of each look, written once.

<sweep>/race/begun.json      settings, the plan without a race, what was typed
<sweep>/race/look-<n>.json   what was asked, what followed, what is asked next; look 0 has the
                             checkpoints and the dense cell's answers

Of several processes that decide the same look one writes it, and the others read what it wrote.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweeper.store import files

Json = dict[str, Any]

FOLDER = "race"
BEGUN = f"{FOLDER}/begun.json"


def begin(sweep: Path, value: Mapping[str, Any]) -> Json:
    """Write down how a race is run, unless that was done; what is written, by whomever."""
    return _once(sweep / BEGUN, value)


def begun(sweep: Path) -> Json | None:
    """How the race of a sweep is run; None if it has none."""
    return _read(sweep / BEGUN)


def decide(sweep: Path, number: int, value: Mapping[str, Any]) -> Json:
    """Write down what followed from a look, unless that was done; what is written, by whomever."""
    return _once(_look(sweep, number), {"look": number, **value})


def looks(sweep: Path) -> list[Json]:
    """The looks that were decided, look 0 first."""
    found: list[Json] = []
    while (record := _read(_look(sweep, len(found)))) is not None:
        found.append(record)
    return found


def _look(sweep: Path, number: int) -> Path:
    return sweep / FOLDER / f"look-{number}.json"


def _read(path: Path) -> Json | None:
    try:
        found: Json = files.read_json(path)
    except FileNotFoundError:
        return None
    return found


def _once(path: Path, value: Mapping[str, Any]) -> Json:
    files.write_once(path, {**_who(), **value})
    files.look_again(path.parent)
    found: Json = files.read_json(path)
    return found


def _who() -> Json:
    """Who writes a record, and when."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    return {"created": now, "host": socket.gethostname(), "user": getpass.getuser()}
