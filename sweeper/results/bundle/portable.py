"""What may leave a machine: JSON without secrets and without the paths of its disks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

ELSEWHERE = "…/"
_INSIDE = re.compile(r"(?<![\w:/.~…])/(?:[^\s/'\":,;()]+/)+([^\s/'\":,;()]*)")

Redact = Callable[[str], str]


def portable(value: Any, redact: Redact) -> Any:
    """JSON data without secrets; of an absolute path only its last name is kept ("…/model").

    Where a file lay says nothing on another machine, what it was called may. Keys of
    dictionaries stay as they are.
    """
    if isinstance(value, str):
        return without_paths(redact(value))
    if isinstance(value, Mapping):
        return {key: portable(one, redact) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [portable(one, redact) for one in value]
    return value


def without_paths(text: str) -> str:
    """The text with "…/name" in place of each absolute path; addresses (https://) stay."""
    path = PurePath(text)
    if path.is_absolute() and "\n" not in text:
        return f"{ELSEWHERE}{path.name}"
    return _INSIDE.sub(rf"{ELSEWHERE}\1", text)
