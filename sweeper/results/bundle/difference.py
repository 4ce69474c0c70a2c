"""One thing in a bundle that is not what it should be."""

from __future__ import annotations

from dataclasses import dataclass

MOST = 20
"""Differences of one table, or of one race, that are told one by one."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing in a bundle that is not what it should be.

    Attributes:
        kind: "file", "document", "score", "table", "verdict" or "decision".
        where: what it is about, in words.
        cell, task, document, name: the same for programs; "" where it is about none.
        recorded: what was recorded.
        found: what is there, or what follows from the records.
    """

    kind: str
    where: str
    recorded: str
    found: str
    cell: str = ""
    task: str = ""
    document: str = ""
    name: str = ""

    def __str__(self) -> str:
        if self.kind == "file":
            return f"{self.where} {self.found}"
        there = "there is" if self.kind == "document" else "the records give"
        return f"{self.where}: recorded {self.recorded}, {there} {self.found}"
