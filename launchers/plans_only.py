"""What both launchers owe Hydra: two methods that a launcher of whole plans has no use for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from sweeper.errors import BadInput
from sweeper.store import Spec
from sweeper.sweep import Sweep


class PlansOnly(Launcher):
    """A Hydra launcher that carries out Isorate's plans only; see `launchers.base.PlanLauncher`."""

    name: str
    """As ``hydra/launcher`` has it."""
    drops_at_end = False
    """Whether checkpoints without readers stay until all else is done."""

    def work(self, sweep: Sweep, estimates: Mapping[str, float]) -> Sequence[str]:
        """Take ready stages of a sweep in this process; see `launchers.local.LocalLauncher`.

        Raises:
            BadInput: this launcher works elsewhere.
        """
        raise BadInput(
            "hydra/launcher", self.name, "isorate work carries stages out in its own process.",
            "Leave hydra/launcher out, whatever scheduler has started it.",
        )  # fmt: skip

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Part of Hydra's contract; a plan brings all that is needed."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Refuse to run separate Hydra jobs: the stages that they share would run many times."""
        raise BadInput(
            "hydra/launcher", self.name, "it carries out Isorate's plans only.",
            "Use hydra/sweeper=isorate (the default), or hydra/launcher=basic for other sweepers.",
        )  # fmt: skip


def ignore(_spec: Spec) -> None:
    """Nobody waits for a finished stage."""
