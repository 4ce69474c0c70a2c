"""Paths that a record names below its home, where that home lies by now: it may be moved or copied.

The store names nothing by its path. Records name what a stage reads from outside of it (models,
texts, tasks, imported checkpoints), and people keep those below the home too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

HOME = "home"
"""The key of a record under which it says where its home was."""


Record = TypeVar("Record", bound=Mapping[str, Any])


def rebased(record: Record, home: Path) -> Record:
    """A record with what it names below its former home named below ``home``.

    A path stays as it is where nothing lies at the new place. Parameters of stages hold no paths.

    Args:
        record: a plan, or the record of an imported checkpoint.
        home: where its home lies now.
    """
    was, now = record.get(HOME), str(home)
    if was is None or was == now:
        return record
    return cast(Record, _moved({**record, HOME: now}, was, now))


def _moved(value: Any, was: str, now: str) -> Any:
    if isinstance(value, str):
        return _path(value, was, now)
    if isinstance(value, Mapping):
        return {key: _moved(each, was, now) for key, each in value.items()}
    return [_moved(each, was, now) for each in value] if isinstance(value, list) else value


def _path(text: str, was: str, now: str) -> str:
    """``text``, a path or an override whose values are some, below the new home if it is there."""
    key, equals, value = text.partition("=") if not text.startswith("/") else ("", "", text)
    one = _there(value, was, now)
    return f"{key}{equals}" + (one or ",".join(_there(v, was, now) or v for v in value.split(",")))


def _there(path: str, was: str, now: str) -> str | None:
    new = now + path[len(was) :]
    return new if path.startswith(f"{was}/") and Path(new).exists() else None
