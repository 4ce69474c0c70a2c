"""What every launcher offers: carry out stages somewhere and say what became of each.

A launcher gets the stages of a plan as JSON (each with its parents embedded), runs what
the store lacks, and reports to an observer. The store is the truth; the outcome is only
this run's account of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from sweeper.errors import BadInput
from sweeper.planning.sweep import Sweep
from sweeper.store.store import Spec, Store

State = Literal["done", "failed", "blocked", "ended", "queued"]


@dataclass(frozen=True, kw_only=True)
class StageOutcome:
    """What became of one stage.

    Attributes:
        state: "done"; "failed": the cell is at fault, kept until `isorate retry`;
            "blocked": something it needs did not come about; "ended": its attempts ended for
            reasons outside the cell, the next run tries again; "queued": a cluster has it,
            this run does not wait for it.
        reason: one sentence; empty when done.
        lasting: of one that ended: the next run ends in the same way, until something is changed.
        seconds: of this run's last attempt; 0 if it was there already.
        cpu_seconds: likewise.
    """

    state: State
    reason: str = ""
    lasting: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of all stages, by key."""

    stages: Mapping[str, StageOutcome] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every stage is done."""
        return all(stage.state == "done" for stage in self.stages.values())


class Observer(Protocol):
    """Gets told what happens, in the thread that carries out the plan."""

    def begin(self, stages: Sequence[Spec], known: Mapping[str, StageOutcome]) -> None:
        """All stages, and the outcome of those that need no work."""
        ...

    def started(self, spec: Spec, where: str) -> None:
        """An attempt begins ("worker 2, process 4711")."""
        ...

    def progress(self, spec: Spec, fraction: float, note: str) -> None:
        """A running stage has come this far, in [0, 1]."""
        ...

    def ended(self, spec: Spec, outcome: StageOutcome) -> None:
        """A stage has its outcome; once for each stage that was not known at the start."""
        ...

    def say(self, message: str) -> None:
        """Something a person should know: an attempt that was killed, say."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class PlanLauncher(Protocol):
    """A launcher as the sweeper sees it (beside Hydra's own ``Launcher`` methods).

    Attributes:
        drops_at_end: whether checkpoints without readers stay until all else is done.
    """

    drops_at_end: bool

    def observer(
        self, title: str = "", cells: Mapping[str, Iterable[str]] | None = None
    ) -> Observer:
        """What a person watches a run with, on stderr.

        Args:
            title: what is carried out.
            cells: cell -> keys of the stages that it consists of, to count finished cells.
        """
        ...

    def seats(self, stages: int) -> list[str | None]:
        """The device of each worker for a number of stages: a GPU id, or None for the CPU."""
        ...

    def gpus(self, kind: str) -> int:
        """How many GPUs a stage of a kind has, where there are any."""
        ...

    def carry_out(
        self,
        stages: Sequence[Spec],
        store: Store,
        *,
        observer: Observer,
        logs: Path,
        on_done: Callable[[Spec], None] = lambda spec: None,
    ) -> Outcome:
        """Run what the store lacks of ``stages`` (in any order; parents are embedded).

        Args:
            stages: the stages wanted, each once.
            store: where their outputs go.
            observer: gets the events.
            logs: directory for the log of each stage, ``<kind>-<key>.log``.
            on_done: called once for every stage that has just been committed, when its
                readers may have changed (to drop checkpoints that nobody needs any more).

        Raises:
            BadInput: the home cannot be written; nothing was started.
            KeyboardInterrupt: after everything was stopped and nothing finished was lost.
        """
        ...


class PlansOnly(Launcher):
    """A Hydra launcher that carries out Isorate's plans only; see `launchers.base.PlanLauncher`."""

    name: str
    """As ``hydra/launcher`` has it."""
    drops_at_end = False
    """Whether checkpoints without readers stay until all else is done."""

    def gpus(self, kind: str) -> int:
        """How many GPUs a stage of a kind has, where there are any: one."""
        return 1

    def work(self, sweep: Sweep, estimates: Mapping[str, float]) -> Sequence[str]:
        """Take ready stages of a sweep in this process; see `launchers.local.launcher`.

        Raises:
            BadInput: this launcher works elsewhere.
        """
        raise BadInput(
            "hydra/launcher",
            self.name,
            "isorate work carries stages out in its own process.",
            "Leave hydra/launcher out, whatever scheduler has started it.",
        )

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Part of Hydra's contract; a plan brings all that is needed."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Refuse to run separate Hydra jobs: the stages that they share would run many times."""
        raise BadInput(
            "hydra/launcher",
            self.name,
            "it carries out Isorate's plans only.",
            "Use hydra/sweeper=isorate (the default), or hydra/launcher=basic for other sweepers.",
        )


def ignore(_spec: Spec) -> None:
    """Nobody waits for a finished stage."""
