"""Where a race stands, by its records alone: who is in it, and who is asked what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sweeper.planning.race import record
from sweeper.planning.race.asking import EVALUATE, Limits, asked

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class State:
    """A race between two decisions.

    Attributes:
        begun: its first record: ``settings``, ``base`` (the plan without a race), ``overrides``
            and ``checkpoints`` as of a plan.
        looks: what was decided, look 0 first.
    """

    begun: Mapping[str, Any]
    looks: Sequence[Mapping[str, Any]]

    @property
    def number(self) -> int:
        """The look under way; 0 while the dense cell is asked everything."""
        return len(self.looks)

    @property
    def over(self) -> bool:
        """Whether nobody is asked any more."""
        return bool(self.looks) and bool(self.looks[-1]["over"])

    @property
    def cells(self) -> Sequence[Mapping[str, Any]]:
        """All cells of the base plan, dense ones and reruns included."""
        found: Sequence[Mapping[str, Any]] = self.begun["base"]["cells"]
        return found

    @property
    def racing(self) -> frozenset[str]:
        """Keys (in the base plan) of the cells that may be asked more."""
        if self.looks:
            return frozenset(self.looks[-1]["racing"])
        return frozenset(cell["key"] for cell in self.cells if not is_dense(cell))

    @property
    def limits(self) -> Limits:
        """What each cell is asked by the look under way."""
        return self.looks[-1]["asks"] if self.looks else beginning(self.cells)

    @property
    def before(self) -> Limits:
        """The same of the look before."""
        if len(self.looks) > 1:
            found: Limits = self.looks[-2]["asks"]
            return found
        return beginning(self.cells) if self.looks else {}

    @cached_property
    def plan(self) -> Json:
        """The plan of the look under way."""
        sizes = self.looks[0]["sizes"] if self.looks else {}
        return asked(self.begun["base"], self.limits, self.before, sizes)

    @property
    def since(self) -> str:
        """When the look under way was set: every process writes its plan down with that time."""
        return str((self.looks[-1] if self.looks else self.begun)["created"])


def read(sweep: Path) -> State | None:
    """The race of a sweep; None if it has none."""
    found = record.begun(sweep)
    return None if found is None else State(begun=found, looks=record.looks(sweep))


def is_dense(cell: Mapping[str, Any]) -> bool:
    """Whether a cell is the model as it is; also one of its reruns."""
    return not cell["sparsity"] and cell["bits"] == 16


def beginning(cells: Sequence[Mapping[str, Any]]) -> Limits:
    """Dense cells are asked all, the others nothing yet."""
    return {cell["key"]: whole(cell) for cell in cells if is_dense(cell)}


def whole(cell: Mapping[str, Any]) -> dict[str, int | None]:
    """Every task of a cell with None: as many documents as the plan without a race asks."""
    return dict.fromkeys(cell["stages"].get(EVALUATE, {}))
