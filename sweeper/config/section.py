"""Resolved sections of the configuration as values that can be hashed and compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Section = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Frozen:
    """A resolved configuration section that can be hashed and compared."""

    items: tuple[tuple[str, Any], ...]

    def __eq__(self, other: object) -> bool:
        """Equal content; the same object mostly, since equal sections are shared."""
        return self is other or (isinstance(other, Frozen) and self.items == other.items)

    def __hash__(self) -> int:
        """Computed once: thousands of cells share a section."""
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.items)

    @classmethod
    def of(cls, section: Section) -> Frozen:
        """Freeze a section; nested maps and lists become tuples."""
        return cls(tuple((k, freeze(v)) for k, v in sorted(section.items())))

    @cached_property
    def dict(self) -> dict[str, Any]:
        """The section as plain JSON data."""
        return {k: _thaw(v) for k, v in self.items}

    def __getitem__(self, name: str) -> Any:
        """The plain value of one key."""
        return self.dict[name]


def chosen(section: Section, names: Iterable[str]) -> tuple[tuple[str, Any], ...]:
    """These keys of a section with their frozen values, sorted by name."""
    return tuple((name, freeze(section[name])) for name in sorted(names))


def freeze(value: Any) -> Any:
    """A plain JSON value as nested tuples."""
    if isinstance(value, Mapping):
        return ("map", tuple((k, freeze(v)) for k, v in sorted(value.items())))
    if isinstance(value, list | tuple):
        return ("list", tuple(freeze(v) for v in value))
    return value


def _thaw(value: Any) -> Any:
    if isinstance(value, tuple):
        kind, items = value
        return {k: _thaw(v) for k, v in items} if kind == "map" else [_thaw(v) for v in items]
    return value
