"""What the analysis refuses."""

from __future__ import annotations

from collections.abc import Sequence


class BadResults(ValueError):
    """A table of results that contradicts itself; the message names the rows and what is valid."""


class NotComparable(ValueError):
    """Two cells that were asked for by name, and cannot be laid side by side.

    Attributes:
        valid: names that could have been meant; empty where the names are not the trouble.
    """

    def __init__(self, why: str, valid: Sequence[str] = ()) -> None:
        super().__init__(why)
        self.valid = tuple(valid)
