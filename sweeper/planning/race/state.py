"""Where a race stands, by its records alone: who is in it, and who is asked what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sweeper.modeling.rate import DENSE_BITS
from sweeper.planning.race import record
from sweeper.planning.race.record import Begun, Limits, LookRecord, Sizes
from sweeper.planning.record import CellRecord, PlanBody


@dataclass(frozen=True, kw_only=True)
class State:
    """A race between two decisions.

    Attributes:
        begun: its first record: ``settings``, ``base`` (the plan without a race), ``overrides``
            and ``checkpoints`` as of a plan.
        looks: what was decided, look 0 first.
    """

    begun: Begun
    looks: Sequence[LookRecord]

    @property
    def number(self) -> int:
        """The look under way; 0 while the dense cell is asked everything."""
        return len(self.looks)

    @property
    def over(self) -> bool:
        """Whether nobody is asked any more."""
        return bool(self.looks) and bool(self.looks[-1]["over"])

    @property
    def cells(self) -> Sequence[CellRecord]:
        """All cells of the base plan, dense ones and reruns included."""
        return self.begun["base"]["cells"]

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
            return self.looks[-2]["asks"]
        return beginning(self.cells) if self.looks else {}

    @property
    def sizes(self) -> Sizes:
        """How many documents the tasks have; {} before the dense cells have answered."""
        return self.looks[0].get("sizes", {}) if self.looks else {}

    @cached_property
    def plan(self) -> PlanBody:
        """The plan of the look under way."""
        # Whoever only checks decisions, of a bundle say, needs nothing of planning.
        from sweeper.planning.race.asking import asked

        return asked(self.begun["base"], self.limits, self.before, self.sizes)

    @property
    def since(self) -> str:
        """When the look under way was set: every process writes its plan down with that time."""
        last: Begun | LookRecord = self.looks[-1] if self.looks else self.begun
        return last["created"]


def read(sweep: Path) -> State | None:
    """The race of a sweep; None if it has none."""
    found = record.begun(sweep)
    return None if found is None else State(begun=found, looks=record.looks(sweep))


def is_dense(cell: CellRecord) -> bool:
    """Whether a cell is the model as it is; also one of its reruns."""
    return not cell["sparsity"] and cell["bits"] == DENSE_BITS


def beginning(cells: Sequence[CellRecord]) -> Limits:
    """Dense cells are asked all, the others nothing yet."""
    return {cell["key"]: whole(cell) for cell in cells if is_dense(cell)}


def whole(cell: CellRecord) -> dict[str, int | None]:
    """Every task of a cell with None: as many documents as the plan without a race asks."""
    return dict.fromkeys(cell["stages"].get("evaluate", {}))
