"""The plan: the stages of all the cells, each once, as a graph. A value; building it touches nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sweeper.cells import Cell
from sweeper.identity import key_of

FORMAT = 1
"""Raised when the meaning of a stage's parameters or outputs changes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One unit of work with one output.

    Attributes:
        kind: a module of `sweeper.stages`.
        params: what it means, beside its parents.
        parents: role -> the stage whose output plays that role.
        library: distributions that do the work -> version.
        sources: role -> a path (or hub id) outside the store; not part of the identity.
        label: for people; not part of the identity.
        work: how much there is to do, in parameters times tokens; for estimates only.
        bulk_bytes: about how large its checkpoint will be; for estimates only.
    """

    kind: str
    params: Mapping[str, Any]
    parents: Mapping[str, Stage]
    library: Mapping[str, str]
    sources: Mapping[str, str]
    label: str
    work: float
    bulk_bytes: float = 0.0

    @cached_property
    def key(self) -> str:
        """Hash of what the stage means, never of where or how fast it runs."""
        return key_of(
            {
                "kind": self.kind,
                "params": self.params,
                "parents": {role: stage.key for role, stage in self.parents.items()},
                "library": self.library,
                "format": FORMAT,
            }
        )

    def record(self) -> dict[str, Any]:
        """The stage as JSON, its parents by key."""
        return {
            "kind": self.kind,
            "key": self.key,
            "params": dict(self.params),
            "parents": {role: stage.key for role, stage in self.parents.items()},
            "library": dict(self.library),
            "format": FORMAT,
            "sources": dict(self.sources),
            "label": self.label,
            "work": self.work,
            "bulk_bytes": self.bulk_bytes,
        }


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell with the stages that make and judge it.

    Attributes:
        cell: the point of the grid.
        label: its name, unique for its model within the plan.
        stages: "prune", "quantize", "measure" -> stage, those that the cell has.
        tasks: leaf task -> its evaluate stage.
    """

    cell: Cell
    label: str
    stages: Mapping[str, Stage]
    tasks: Mapping[str, Stage]

    @cached_property
    def key(self) -> str:
        """Identity of the cell: what is measured and scored."""
        named = {**self.stages, **{f"task:{name}": stage for name, stage in self.tasks.items()}}
        return key_of({role: stage.key for role, stage in named.items()})

    def all_stages(self) -> Iterator[Stage]:
        """The cell's own stages; shared ones too."""
        yield from self.stages.values()
        yield from self.tasks.values()


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A combination that is no cell: what was asked, and why not."""

    overrides: tuple[str, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a sweep is.

    Attributes:
        cells: in the order of the grid.
        stages: key -> stage, parents before children.
        dropped: combinations that are no cells.
        merged: combinations that equal an earlier one.
        later: cells of a source that no method here can do yet.
    """

    cells: tuple[PlannedCell, ...]
    stages: Mapping[str, Stage]
    dropped: tuple[Dropped, ...]
    merged: tuple[Dropped, ...]
    later: tuple[Mapping[str, str], ...]

    @property
    def unshared(self) -> int:
        """Number of stages if every cell were made on its own."""
        return sum(len(set(self.ancestry(cell))) for cell in self.cells)

    def ancestry(self, cell: PlannedCell) -> Iterator[str]:
        """Keys of all stages that a cell rests on."""
        pending = list(cell.all_stages())
        seen: set[str] = set()
        while pending:
            stage = pending.pop()
            if stage.key not in seen:
                seen.add(stage.key)
                pending.extend(stage.parents.values())
        yield from seen
