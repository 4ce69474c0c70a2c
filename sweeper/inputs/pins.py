"""The revisions of the hub that a sweep takes: a value, and the file that keeps it.

``sweeps/<name>/prefetched.json`` has one writer, `isorate prefetch`, and is there whole or
not at all. Planning takes the revisions from it, so they are part of the stages' keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sweeper.errors import BadInput
from sweeper.store import files

NAME = "prefetched.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Pins:
    """The revisions that a sweep takes.

    Attributes:
        models, data: "<hub id>@<configured revision>" -> commit.
        tasks: leaf task -> hub id -> commit of every data set that it loads; a task of
            which all data is local has an empty entry.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything was ever prefetched for the sweep."""
        return bool(self.models or self.data or self.tasks)

    def __or__(self, newer: Pins) -> Pins:
        """Both; what ``newer`` says wins."""
        return Pins(
            models={**self.models, **newer.models},
            data={**self.data, **newer.data},
            tasks={**self.tasks, **newer.tasks},
        )

    def model(self, name: str, revision: str) -> str | None:
        """The commit of a model, if one is pinned."""
        return self.models.get(f"{name}@{revision}")

    def dataset(self, name: str, revision: str) -> str | None:
        """The commit of a calibration data set, if one is pinned."""
        return self.data.get(f"{name}@{revision}")


def read(sweep: Path) -> Pins:
    """The pins of a sweep's directory; empty if it was never prefetched.

    Raises:
        BadInput: the file is of another version of Isorate.
    """
    path = sweep / NAME
    if not path.exists():
        return Pins()
    record = files.read_json(path)
    if record.get("format") != FORMAT:
        raise BadInput(
            "name",
            sweep.name,
            f"{path} was written by another version of Isorate.",
            "Delete it and run `isorate prefetch` again.",
        )
    return Pins(**{name: record[name] for name in ("models", "data", "tasks")})


def write(sweep: Path, pins: Pins, about: Mapping[str, Any]) -> Path:
    """Record pins, and what a person may want to know ``about`` them; returns the file."""
    path = sweep / NAME
    files.write_whole(path, {"format": FORMAT, **asdict(pins), "about": dict(about)})
    return path
