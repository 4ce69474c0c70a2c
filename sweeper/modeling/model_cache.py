"""The one model that a process keeps loaded from stage to stage."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

_held: dict[Hashable, Any] = {}


def get(key: Hashable, load: Callable[[], Any]) -> Any:
    """What is held under ``key``, else what ``load`` gives, in place of what was held before."""
    if key not in _held:
        forget()  # before loading: two models side by side may not fit
        _held[key] = load()
    return _held[key]


def forget() -> None:
    """Drop the model, so that another kind of stage has the memory."""
    _held.clear()
