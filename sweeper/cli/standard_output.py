"""Standard output belongs to a command's answer: what libraries print goes to standard error."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

_STDOUT, _STDERR = 1, 2


@contextmanager
def reserved() -> Iterator[TextIO]:
    """The stream for the answer; meanwhile all else that prints does so to standard error.

    The file descriptor is turned over too where standard output is one: loggers that hold the
    old stream, C libraries and child processes write to it past Python's ``sys.stdout``.
    """
    own = sys.stdout
    own.flush()
    answer = _duplicate(own)
    if answer is not None:
        os.dup2(_STDERR, _STDOUT)
    sys.stdout = sys.stderr
    try:
        yield answer or own
    finally:
        sys.stdout = own
        if answer is not None:
            own.flush()
            os.dup2(answer.fileno(), _STDOUT)
            _close(answer)


def _duplicate(own: TextIO) -> TextIO | None:
    """A stream of its own to the same place; None where `own` is no file, as in a notebook."""
    try:
        if own.fileno() != _STDOUT:
            return None
        return open(os.dup(_STDOUT), "w", encoding=own.encoding, errors=own.errors)
    except (io.UnsupportedOperation, AttributeError, OSError):
        return None


def _close(answer: TextIO) -> None:
    with suppress(BrokenPipeError):  # nobody reads any more, which the command has noticed itself
        answer.close()
