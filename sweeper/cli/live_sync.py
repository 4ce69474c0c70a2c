"""MLflow follows a run while it lasts, from a thread beside it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sweeper.cli import reporting
from sweeper.cli.request import Request

APART = 10.0
"""A write that takes long is repeated rarely: they are so many times their own length apart."""
GRACE_S = 10.0
"""What a write under way is given when the run is over; then it is left to itself."""

log = logging.getLogger(__name__)

Write = Callable[[bool], dict[str, Any]]
"""Brings MLflow up to date (True: without a warning) and tells what it did."""


@contextmanager
def followed(request: Request) -> Iterator[None]:
    """Write the sweep to MLflow every `tracking.every_s` seconds as long as the block lasts."""
    tracking = request.config.tracking
    if not (tracking.enabled and tracking.every_s > 0):
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(
        target=follow, args=(writer(request), float(tracking.every_s), stop), daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(GRACE_S)


def writer(request: Request) -> Write:
    """What brings the sweep of a request up to date; reads plan and store afresh each time."""

    def write(quiet: bool) -> dict[str, Any]:
        return reporting.sync(request, request.sweep.load(), quiet=quiet)

    return write


def follow(write: Write, every_s: float, stop: threading.Event) -> None:
    """Write again and again until told to stop; a problem is said once."""
    said, pause, first = False, every_s, True
    while not stop.wait(pause):
        began = time.monotonic()
        try:
            said |= bool(write(said)["problem"])
        except Exception as error:  # the run must not suffer, and its end will write all anew
            log.warning("MLflow does not follow this run any more: %s", error)
            return
        # The first one imports MLflow and makes its database: the next will not.
        pause = every_s if first else max(every_s, APART * (time.monotonic() - began))
        first = False
