"""The plan: the stages of all the cells, each once, as a graph; a value that touches nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from sweeper.planning import formats
from sweeper.planning.cells.cell import Cell
from sweeper.store.hashing import digest, key_of
from sweeper.store.spec import StageRecord

PART = "part "
"""Roles that begin so are parts of the stage itself: they answer to the same family."""


class Params(dict[str, Any]):
    """What a stage means beside its parents; shared by stages and hashed once."""

    @cached_property
    def digest(self) -> str:
        """Hash of the canonical JSON."""
        return key_of(self)


@cache
def _library_lines(library: tuple[tuple[str, str], ...]) -> list[str]:
    return sorted(f"{name}={version}" for name, version in library)


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
        answers: what each of its answers depends on beside parents and library; None if it
            has no answers to share.
        kernels: "portable" where its process is to have them (`sweeper.modeling.kernels`); "" for
            the best of its processor. Not part of the identity.
    """

    kind: str
    params: Params
    parents: Mapping[str, Stage]
    library: Mapping[str, str]
    sources: Mapping[str, str]
    label: str
    work: float
    bulk_bytes: float = 0.0
    answers: Params | None = None
    kernels: str = ""

    @cached_property
    def key(self) -> str:
        """Hash of what the stage means, never of where or how fast it runs."""
        return self._key(self._made_from)

    @cached_property
    def format(self) -> int:
        """Version of what it writes, see `sweeper.planning.formats`."""
        return formats.version(self.kind, self.params)

    @cached_property
    def former(self) -> tuple[str, ...]:
        """The keys that it had before formats changed, of itself or of what it rests on."""
        changes = range(len(formats.CHANGES)) if self.changes else ()
        return tuple(sorted({self.key_after(count) for count in changes} - {self.key}))

    @cached_property
    def changes(self) -> frozenset[str]:
        """What is different in its output and in those it rests on, since the first formats."""
        own = {c.why for c in formats.CHANGES if c.concerns(self.kind, self.params)}
        return frozenset(own.union(*(parent.changes for parent in self.parents.values())))

    @cached_property
    def _after(self) -> dict[int, str]:
        return {}

    def key_after(self, changes: int) -> str:
        """Its key when formats had changed so many times."""
        if not self.changes:
            return self.key
        if changes not in self._after:
            parents = {role: p.key_after(changes) for role, p in self.parents.items()}
            form = formats.version(self.kind, self.params, changes)
            self._after[changes] = self._key(self._lines(parents, form))
        return self._after[changes]

    def _key(self, made_from: list[str]) -> str:
        return digest("\n".join((self.kind, self.params.digest, *made_from)))

    @cached_property
    def family(self) -> str:
        """Hash of what it means but for its share of the documents; "" if it shares no answers."""
        if self.answers is None:
            return ""
        made_from = [line for line in self._made_from if not line.startswith(PART)]
        return digest("\n".join((self.answers.digest, *made_from)))

    @property
    def _made_from(self) -> list[str]:
        return self._lines({role: p.key for role, p in self.parents.items()}, self.format)

    def _lines(self, parents: Mapping[str, str], form: int) -> list[str]:
        library = _library_lines(tuple(self.library.items()))
        return [*sorted(f"{role}={key}" for role, key in parents.items()), *library, str(form)]

    def record(self) -> StageRecord:
        """The stage as JSON, its parents by key."""
        record: StageRecord = {
            "kind": self.kind,
            "key": self.key,
            "params": dict(self.params),
            "parents": {role: stage.key for role, stage in self.parents.items()},
            "library": dict(self.library),
            "format": self.format,
            "sources": dict(self.sources),
            "label": self.label,
            "work": self.work,
            "bulk_bytes": self.bulk_bytes,
        }
        if self.family:
            record["family"] = self.family
        if self.kernels:
            record["kernels"] = self.kernels
        return record


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell with the stages that make and judge it.

    Attributes:
        cell: the point of the grid.
        label: its name, unique for its model within the plan.
        stages: "prune", "quantize", "measure" -> stage, those that the cell has.
        tasks: leaf task -> its evaluate stage.
        groups: the groups of tasks that are one benchmark each -> their leaf tasks.
        scale_bits: what scales and zero points will take per linear weight of the dense model;
            None where nothing is quantized.
    """

    cell: Cell
    label: str
    stages: Mapping[str, Stage]
    tasks: Mapping[str, Stage]
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scale_bits: float | None = None

    @cached_property
    def key(self) -> str:
        """Identity of the cell: what is measured and scored."""
        return key_of({role: stage.key for role, stage in self._named().items()})

    @cached_property
    def former(self) -> tuple[str, ...]:
        """The identities that it had before formats changed; it stands in for those cells."""
        named = self._named()
        if not any(stage.changes for stage in named.values()):
            return ()
        found = {
            key_of({role: stage.key_after(count) for role, stage in named.items()})
            for count in range(len(formats.CHANGES))
        }
        return tuple(sorted(found - {self.key}))

    def _named(self) -> dict[str, Stage]:
        return {**self.stages, **{f"task:{name}": stage for name, stage in self.tasks.items()}}

    def all_stages(self) -> Iterator[Stage]:
        """The stages that make and judge the cell, without what those rest on."""
        yield from self.stages.values()
        yield from self.tasks.values()

    @cached_property
    def lineage(self) -> frozenset[str]:
        """Keys of all stages that the cell rests on."""
        return frozenset(lineage(self.all_stages()))


def lineage(stages: Iterable[Stage]) -> set[str]:
    """Keys of the stages and of all their ancestors."""
    pending = list(stages)
    found: set[str] = set()
    while pending:
        stage = pending.pop()
        if stage.key not in found:
            found.add(stage.key)
            pending.extend(stage.parents.values())
    return found


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
        notes: what is odd about a model and harmless.
    """

    cells: tuple[PlannedCell, ...]
    stages: Mapping[str, Stage]
    dropped: tuple[Dropped, ...]
    merged: tuple[Dropped, ...]
    notes: tuple[str, ...] = ()

    @property
    def unshared(self) -> int:
        """Number of stages if every cell were made on its own."""
        return sum(len(cell.lineage) for cell in self.cells)
