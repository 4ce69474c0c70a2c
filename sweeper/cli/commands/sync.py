"""``isorate sync``: replay the store into MLflow."""

from __future__ import annotations

import time
from typing import Any

from sweeper.cli import live_sync, reporting
from sweeper.cli.request import Request
from sweeper.errors import BadInput


def perform(request: Request) -> int:
    """Make MLflow show what the store holds of a recorded sweep; 1 if it could not.

    With `watch` it does so until nothing more happens by itself: while a cluster works, say.
    """
    every_s, watch = float(request.config.tracking.every_s), bool(request.config.watch)
    if watch and every_s <= 0:
        raise BadInput("tracking.every_s", every_s, "valid with watch=true: more than 0 seconds.")
    write = live_sync.writer(request)
    looking = reporting.Watch(request)
    finished = not watch or looking.look()
    done = write(False)
    while done["enabled"] and not finished:
        time.sleep(every_s)
        finished = looking.look()  # before writing, so that the end is written too
        done = write(bool(done["problem"]))
    request.answer(done, _text(done))
    return 1 if done.get("problem") else 0


def _text(done: dict[str, Any]) -> str:
    if not done["enabled"]:
        return "tracking.enabled=false: nothing was written"
    counts = ", ".join(f"{done[k]} {k}" for k in ("created", "updated", "unchanged", "removed"))
    return str(done["problem"] or f"{done['uri']}: {counts}")
