"""How far attempts under way are: each says it in a small file beside its work.

That file is all that `isorate status` and MLflow need to show a running stage, on this
machine as on a cluster, whose front end has left long ago.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sweeper.store import files

FILE = "headway.json"
SECONDS_LEFT = "seconds_left"
EVERY_S = 5.0
_SURE = 0.05
"""Before this share of a stage is done its speed says nothing of the rest."""


@dataclass(frozen=True, kw_only=True)
class Headway:
    """What an attempt last said of itself.

    Attributes:
        host: where it works.
        fraction: the share that is done, in [0, 1].
        note: the same in words.
        rates: documents_per_s, tokens_per_s, seconds_left: as far as they are known.
        started: seconds since the epoch; None if it has not said anything yet.
    """

    host: str = ""
    fraction: float = 0.0
    note: str = ""
    rates: Mapping[str, float] = field(default_factory=dict)
    started: float | None = None


def read(attempt: Path, host: str) -> Headway:
    """What the attempt that works in this directory said last."""
    try:
        return Headway(**{**files.read_json(attempt / FILE), "host": host})
    except (FileNotFoundError, NotADirectoryError):  # it has just begun, or just ended
        return Headway(host=host)


class Recorder:
    """Writes down what an attempt says of its progress, at most every few seconds."""

    def __init__(self, attempt: Path, watcher: Callable[..., None]) -> None:
        """``attempt``: its directory; ``watcher`` is told fraction and note each time."""
        self._attempt, self._watcher = attempt, watcher
        self._began, self._started = time.monotonic(), time.time()
        self._written = 0.0
        self._write(Headway(started=self._started))

    def __call__(self, fraction: float, note: str = "", **rates: float) -> None:
        """This share is done; ``rates`` as in `Headway`."""
        self._watcher(fraction, note)
        now = time.monotonic()
        if now - self._written < EVERY_S:
            return
        self._written = now
        if fraction > _SURE:
            rates.setdefault(SECONDS_LEFT, (now - self._began) * (1 - fraction) / fraction)
        rounded = {name: round(value, 3) for name, value in rates.items()}
        self._write(Headway(fraction=fraction, note=note, rates=rounded, started=self._started))

    def _write(self, said: Headway) -> None:
        """Whole or not at all; no flush, for it is worth nothing after a crash."""
        partial = self._attempt / f".{FILE}"
        with suppress(OSError):  # a full disk is the stage's own to tell, with what to do
            partial.write_text(json.dumps(asdict(said), allow_nan=False))
            os.replace(partial, self._attempt / FILE)
