"""Every error that Isorate raises on purpose, in one tree.

    IsorateError
    ├── BadInput          the configuration cannot mean anything: exit 2, nothing started
    ├── StageFailure      the cell itself is at fault: recorded, not retried until `isorate retry`
    └── DamagedOutput     a committed output no longer has the size or hash that was recorded

Anything else that leaves a stage (memory, disk, network, a killed process) ends
the attempt only: the next run tries again. `NoCell` and `Refused` stand beside the tree:
they tell the planner what to leave out of a grid, and are errors only in what was asked for
outright.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class IsorateError(Exception):
    """Base of all errors with a message meant for the person at the keyboard."""


class BadInput(IsorateError):
    """A value that was refused before anything started.

    The message always has the same four parts: the key, the value, what is valid
    and what to do.
    """

    def __init__(self, key: str, value: object, valid: str, hint: str = "") -> None:
        self.key, self.value, self.valid, self.hint = key, value, valid, hint
        message = f"{key}={value}: {valid}"
        super().__init__(f"{message} {hint}" if hint else message)


class NoCell(Exception):
    """This combination is no cell of its own; the message is the reason that `plan` shows."""


class Refused(Exception):
    """A method cannot do what this cell asks of it."""

    def __init__(self, reason: BadInput) -> None:
        self.reason = reason
        super().__init__(str(reason))


class Untreatable(Refused):
    """No method can treat this model, whatever is asked: its cells are left out of a grid."""


class StageFailure(IsorateError):
    """The stage ran and its outcome is not what the cell's label says.

    Deterministic by definition: the same stage would fail again, so it is kept
    (`<key>.failed/`) until `isorate retry` clears it.
    """


class DamagedOutput(IsorateError):
    """A file of a committed stage is missing or differs from its manifest."""


def several(names: Sequence[str], most: int = 10) -> str:
    """'a, b, c and 4 more' - the phrase every message about many layers uses."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def nearest(word: str, values: Sequence[str]) -> str:
    """'Did you mean plan?' where a valid value is spelt almost like that, else ""."""
    found = get_close_matches(word, values, n=1, cutoff=0.7)
    return f"Did you mean {found[0]}?" if found else ""


def one_of(values: Sequence[object]) -> str:
    """'valid: a, b, c' - the phrase every refusal of a choice uses."""
    return "valid: " + ", ".join(str(v) for v in values)
