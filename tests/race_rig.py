"""Races of drawn documents in this very process: a plan, its looks, and what is left of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeper.planning import builder, retention
from sweeper.planning.plan import Plan
from sweeper.planning.race import record, state
from sweeper.planning.race.state import State
from sweeper.planning.sweep import Sweep, plan_json
from sweeper.results.race import advance
from sweeper.store.store import Store
from sweeper.worker.runner import Bench, find_stage, run_stage
from tests.composing import composed
from tests.stubs import kinds

Json = dict[str, Any]

TASKS = "tasks.names=[demo_agreement,demo_endings]"
GRID = ("prune.sparsity=0,50", "prune.pattern=unstructured,2:4", "quant.bits=16,8")
"""A dense cell, three at 50 % TCr, two at 75 %."""
SETTINGS: Json = {
    "rule": "anytime",
    "alpha": 0.05,
    "family": "group",
    "by": "sr2",
    "margin": None,
    "first_look": 128,
    "assumed_spread": 0.1,
    "stderr": None,
}
BENCH = Bench(find=lambda kind: find_stage(kind, "tests.stubs.race"))


def words(model: Path, *more: str) -> list[str]:
    """What plans the grid over a model that `tests.stubs.kinds.model` wrote."""
    return [
        "model=custom",
        f"model.id={model}",
        "model.name=tiny",
        "model.group_size=32",
        "calibration.samples=4",
        "calibration.length=32",
        TASKS,
        *GRID,
        *more,
    ]


def plan(folder: Path, *more: str) -> Plan:
    """The plan of the grid; its model is below ``folder``."""
    model = folder / "model"
    if not model.exists():
        kinds.model(model)
    with composed([]) as (config, loader):
        return builder.plan(config, loader, words(model, *more))


class RaceRig:
    """A home with one race in it."""

    def __init__(self, root: Path, base: Json, settings: Mapping[str, Any] = SETTINGS) -> None:
        self.store = Store(root / "home")
        self.sweep = Sweep(self.store.home, "raced")
        head = {"base": base, "overrides": [], "checkpoints": "drop"}
        record.begin(self.sweep.path, {"settings": dict(settings), **head})

    @property
    def now(self) -> State:
        """The race as its records say."""
        found = state.read(self.sweep.path)
        assert found is not None
        return found

    def advance(self) -> State:
        """Decide what can be decided."""
        return advance.advance(self.sweep, self.store)

    def work(self, most: int | None = None) -> list[str]:
        """Carry out stages of the look under way, at most so many; their keys."""
        made, stages = [], self.stages()
        drop = retention.Dropper(self.store, self.store.home, stages, "drop")
        for spec in stages:
            if not self.store.is_done(spec) and (most is None or len(made) < most):
                run_stage(spec, self.store, BENCH)
                drop(spec)
                made.append(str(spec["key"]))
        return made

    def stages(self) -> list[Json]:
        """Those of the look under way, parents before children."""
        return advance.specs(self.now, self.store)

    def run(self) -> State:
        """The whole race."""
        now = self.advance()
        while not now.over:
            self.work()
            now = self.advance()
        return now

    def labels(self, cells: Sequence[str]) -> set[str]:
        """What people call these cells."""
        return {cell["label"] for cell in self.now.cells if cell["key"] in cells}


def base(found: Plan) -> Json:
    """A plan as the first record of a race has it."""
    return plan_json(found)
