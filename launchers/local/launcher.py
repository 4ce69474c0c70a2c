"""The local launcher: persistent worker processes on this machine, one per GPU or per core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from launchers.base import Observer, Outcome, PlansOnly, StageOutcome, ignore
from launchers.local import devices
from launchers.local.pool import Pool
from launchers.local.process import Command
from launchers.schedule import Schedule, closure, missing
from sweeper.errors import BadInput
from sweeper.modeling import kernels
from sweeper.planning.sweep import Sweep
from sweeper.store.store import Spec, Store


class LocalLauncher(PlansOnly):
    """Carries out a plan with worker processes of this machine.

    Args:
        workers: how many; None: one per GPU, else as many as cores and memory allow.
        threads: CPU threads of each worker. One is fastest on CPU: more workers use more cores.
        retries: further attempts of a stage that ended for a reason outside its cell.
        memory_gib: memory that one CPU worker may need; caps their number if ``workers`` is None.
        stages: package with the modules of the stages.
    """

    name = "local"

    def __init__(
        self,
        workers: int | None = None,
        threads: int = 1,
        retries: int = 2,
        memory_gib: float = 3.0,
        stages: str = "sweeper.stages",
    ) -> None:
        for key, value, least in (
            ("workers", workers, 1),
            ("threads", threads, 1),
            ("retries", retries, 0),
        ):
            if value is not None and value < least:
                raise BadInput(f"hydra.launcher.{key}", value, f"valid: {least} or more")
        if memory_gib <= 0:
            raise BadInput("hydra.launcher.memory_gib", memory_gib, "valid: more than 0")
        self._workers, self._threads, self._retries = workers, threads, retries
        self._memory_gib, self._stages = memory_gib, stages

    def seats(self, stages: int) -> list[str | None]:
        """The device of each worker for a number of stages: a GPU id, or None for the CPU."""
        gpus = devices.gpus()
        if gpus:
            count = self._workers or len(gpus)
            found: list[str | None] = [gpus[n % len(gpus)] for n in range(count)]
        else:
            found = [None] * (self._workers or devices.cpu_workers(self._threads, self._memory_gib))
        return found[: max(1, stages)]

    def observer(
        self, title: str = "", cells: Mapping[str, Iterable[str]] | None = None
    ) -> Observer:
        """What a person watches a run with; see `launchers.local.progress`."""
        from launchers.local import progress

        return progress.observer(title, cells)

    def work(self, sweep: Sweep, estimates: Mapping[str, float]) -> Sequence[str]:
        """Take ready stages of a sweep, in this very process, until none is left for it.

        Args:
            sweep: whose recorded plans have the stages.
            estimates: the stages that may be carried out -> expected seconds.

        Returns:
            Keys of the stages that this process has made.
        """
        from launchers.slurm.job import pull_job
        from launchers.slurm.job.attempt import Place
        from launchers.slurm.records import new_submission
        from sweeper.worker import process

        process.limit_threads(self._threads)
        process.stop_cleanly()
        worker = pull_job.make(
            sweep,
            estimates,
            Place.anywhere(),
            new_submission(),
            device="cuda" if devices.gpus() else "cpu",
            stages=self._stages,
            tries=1 + self._retries,
        )
        worker.run()
        return worker.done

    def carry_out(
        self,
        stages: Sequence[Spec],
        store: Store,
        *,
        observer: Observer,
        logs: Path,
        on_done: Callable[[Spec], None] = ignore,
    ) -> Outcome:
        """Run what the store lacks of ``stages``; see `launchers.base.PlanLauncher`."""
        store.check()
        store.gc()
        logs.mkdir(parents=True, exist_ok=True)
        specs = closure(stages)
        needed = missing(stages, lambda spec, bulk: store.present(spec, bulk=bulk))
        known = {
            spec["key"]: StageOutcome(state="done") for spec in stages if spec["key"] not in needed
        }
        schedule = Schedule(specs, needed)
        command = Command(
            home=store.home,
            logs=logs.resolve(),
            threads=self._threads,
            stages=self._stages,
            warm=tuple(dict.fromkeys(specs[key]["kind"] for key in specs if key in needed)),
            portable=kernels.wanted(specs[key] for key in needed),
        )
        pool = Pool(
            schedule,
            command,
            self.seats(len(needed)),
            observer=observer,
            retries=self._retries,
            on_done=on_done,
        )
        observer.begin([specs[k] for k in specs if k in needed or k in known], known)
        try:
            for spec in [specs[key] for key in specs if key in needed]:
                if spec["key"] in schedule.open and (failure := store.failure(spec)):
                    reason = f"{failure['message']} (failed before: `isorate retry` tries again)"
                    pool.give_up(spec, StageOutcome(state="failed", reason=reason))
            pool.run()
        finally:
            pool.stop()
            store.gc()
            observer.close()
        return Outcome(stages={**known, **pool.outcomes})
