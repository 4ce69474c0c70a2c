"""Leaving a process at once: taking torch and its company apart costs seconds for nothing."""

from __future__ import annotations

import atexit
import os
import sys


class _Exit:
    """The status to leave with; None: the interpreter ends as it always does."""

    status: int | None = None


def at_once() -> None:
    """Make this process end without taking its libraries apart, once `with_status` was called.

    Call it before anything large is imported: then it runs after every other exit handler.
    """
    atexit.register(_leave)


def with_status(status: int) -> None:
    """The exit status, known only here: os._exit has to be told."""
    _Exit.status = status


def _leave() -> None:
    if _Exit.status is None:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_Exit.status)
