"""How an attempt ended, in words for people and one bit for the launcher: try again?"""

from __future__ import annotations

import errno
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sweeper.errors import DamagedOutput, IsorateError, StageFailure
from sweeper.redaction import redact

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """An attempt that did not commit.

    Attributes:
        event: "failed" (the cell is at fault, kept) or "attempt_ended" (anything else).
        error: the class of the error.
        message: what happened and what to do.
        again: whether a second attempt could fare better.
        lasting: whether another run would end in the same way, until something is changed.
        traceback: its last lines.
    """

    event: str
    error: str
    message: str
    again: bool = False
    lasting: bool = False
    traceback: str = ""

    def as_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)


def explain(error: Exception, home: Path) -> Ending:
    """Sort an exception that left a stage."""
    message, again = _read(error, home)
    return Ending(
        event="failed" if isinstance(error, StageFailure) else "attempt_ended",
        error=type(error).__name__,
        message=redact(message),
        again=again,
        lasting=_lasts(error),
        traceback=redact("".join(traceback.format_exception(error)[-8:])),
    )


def _lasts(error: Exception) -> bool:
    """Whether it is not the machine's state (memory, disk, network, damage) that was met."""
    passing = isinstance(error, OSError | MemoryError | DamagedOutput)
    return not (passing or _of_memory(error) or "CUDA error" in str(error))


def _of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _read(error: Exception, home: Path) -> tuple[str, bool]:
    if isinstance(error, IsorateError):
        return str(error), isinstance(error, DamagedOutput)
    if _of_memory(error):
        return f"out of memory ({error}): use fewer workers or a smaller batch", True
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        where = error.filename or home
        return (
            f"no space left on the disk of {where}: free some (`isorate gc yes=true`, "
            "checkpoints=drop) and run again; what is finished is kept"
        ), False
    # The network, a disk that stutters: passing troubles. The rest is a defect of a program.
    return f"{type(error).__name__}: {error}", isinstance(error, OSError)
