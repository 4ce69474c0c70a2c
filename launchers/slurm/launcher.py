"""The SLURM launcher: submits a plan as job arrays that wait for each other, and returns.

Nothing stays resident on the login node. SLURM holds the dependencies; the last job of a
submission repairs what ended for reasons outside its cell and collects the results.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from launchers.base import Observer, Outcome, PlansOnly, ignore
from launchers.slurm import next_look, records
from launchers.slurm.cluster import limits, queue
from launchers.slurm.cluster.commands import patiently, speak_to
from launchers.slurm.cluster.queue import Cancelled
from launchers.slurm.reliable_status import noticed, reliable, settled
from launchers.slurm.repair import judge, tried_again
from launchers.slurm.resources.environment import with_environment
from launchers.slurm.settings import Settings
from launchers.slurm.status import JobTable, table
from launchers.slurm.submission.dispatch import Dispatch
from launchers.slurm.submission.pending import Submitting, Todo, lacking, sort_out
from launchers.slurm.submission.submit import STOCK_ARRAY
from launchers.slurm.submission.summary import Shape, shape
from sweeper.planning.sweep import Sweep
from sweeper.results import launcher_record
from sweeper.store.store import Spec, Store

_CLAIM_WAIT_S = 60.0


def _quiet(_message: object) -> None:
    """Nobody listens."""


def _raised(
    memory: Mapping[str, float], before: Mapping[str, float], todo: Todo
) -> Mapping[str, float]:
    """Factors on memory; they rise only for what is submitted: others did not run out again."""
    return {**before, **{key: memory[key] for key in todo.needed if key in memory}}


class SlurmLauncher(PlansOnly):
    """Carries out a plan on a SLURM cluster; its arguments are the fields of `Settings`."""

    name = "slurm"
    drops_at_end = True  # while jobs run, nobody sees all readers of a checkpoint

    def __init__(self, **options: Any) -> None:
        self._settings = Settings.of(with_environment(options, os.environ))
        if self._settings.clusters:
            speak_to(self._settings.clusters)
        self._dispatch = Dispatch(settings=self._settings, config=self.config)

    @property
    def config(self) -> dict[str, Any]:
        """How to make this launcher again: ``_target_`` and its arguments."""
        return {"_target_": "launchers.slurm.launcher.SlurmLauncher", **self._settings.given()}

    def observer(
        self, title: str = "", cells: Mapping[str, Iterable[str]] | None = None
    ) -> Observer:
        """Says what was submitted; nobody waits for the stages."""
        return Submitting(title)

    def seats(self, stages: int) -> list[str | None]:
        """A seat for each job that may run at a time: on a GPU, or None for the CPU."""
        asked = self._settings.requests.of_kind("evaluate")
        seat = "any" if self._settings.device_of(asked) == "cuda" else None
        return [seat] * max(1, min(self._settings.array_parallelism, stages))

    def gpus(self, kind: str) -> int:
        """How many GPUs a job for a stage of a kind asks for."""
        return self._settings.requests.of_kind(kind).gpus

    # --- carrying out ----------------------------------------------------------------

    def carry_out(
        self,
        stages: Sequence[Spec],
        store: Store,
        *,
        observer: Observer,
        logs: Path,
        on_done: Callable[[Spec], None] = ignore,
    ) -> Outcome:
        """Submit what the store lacks of ``stages`` and return; see `launchers.base.PlanLauncher`.

        What is queued or running already is not submitted again. ``on_done`` is never
        called: nobody is here any more when a stage is done.

        Raises:
            BadInput: the cluster cannot do it; nothing was submitted.
            SlurmError: SLURM is away or refuses; what was submitted before stays.
        """
        store.check()
        sweep, patience_s = Sweep(store.home, logs.parent.name), self._settings.patience_s
        with records.claim(sweep.path, wait_s=_CLAIM_WAIT_S, say=observer.say) as lease:
            known = patiently(lambda: reliable(sweep, store), patience_s, observer.say)
            todo = sort_out(stages, store, known, {})
            observer.begin(todo.relevant, todo.outcomes)
            try:
                if todo.needed:
                    memory = self._memory(sweep, known, todo)
                    self._dispatch.submit(
                        todo, store, sweep, observer.say, memory=memory, lease=lease
                    )
                else:
                    observer.say(todo.nothing())
            finally:
                observer.close()
        return Outcome(stages=todo.outcomes)

    def repair(
        self, sweep: Sweep, store: Store, *, after: str, early: bool = False
    ) -> dict[str, Any]:
        """Submit again what ended for reasons outside its cell, with all that waits for it.

        Args:
            sweep: the sweep.
            store: its store.
            after: the submission whose jobs have ended.
            early: only some of them have; the others are left alone, and watched again.

        Returns:
            "resubmitted" and "given_up", for the record of the round.
        """
        with records.claim(sweep.path, wait_s=_CLAIM_WAIT_S, say=_quiet) as lease:
            submitted = {
                record["submission"]: record for record in launcher_record.submissions(sweep.path)
            }
            record = submitted[after]
            number, tries = int(record["round"].get("number", 0)), record.get("tries", {})
            if early and after != max(submitted):
                return {"resubmitted": [], "given_up": {}}  # the newest has a watch of its own
            known = (
                noticed(sweep, store)
                if early
                else settled(sweep, store, record["round"]["dependency"])
            )
            verdict = judge(
                known.stages,
                record["memory"],
                memory_factor=self._settings.memory_factor,
                tries=tries,
                rounds=self._settings.rounds,
            )
            specs = sweep.load()["stages"]
            wanted = [specs[key] for key in record["wanted"] if key in specs]
            todo = sort_out(wanted, store, known, verdict.given_up)
            again = sorted(todo.needed)
            if again:
                memory = _raised(verdict.memory, record["memory"], todo)
                self._dispatch.submit(
                    todo,
                    store,
                    sweep,
                    _quiet,
                    number=number + 1,
                    memory=memory,
                    lease=lease,
                    tries=tried_again(tries, verdict, known.stages, todo.needed),
                    follows=after if early else "",
                )
            elif early and (live := set(todo.live.values())):
                self._dispatch.watch(record, sweep, lease, live & set(queue.mine()))
            return {"resubmitted": again, "given_up": dict(verdict.given_up)}

    def next_look(self, sweep: Sweep, store: Store) -> dict[str, Any]:
        """Take a race to its next look; see `launchers.slurm.next_look`."""
        return next_look.submit(self, sweep, store)

    def _memory(self, sweep: Sweep, known: JobTable, todo: Todo) -> Mapping[str, float]:
        """Factors on memory as a repair round would choose them; none where more was asked for.

        A round may not be allowed to submit, or have come to the end of its budget.
        """
        last = launcher_record.submissions(sweep.path)[-1:]
        if not last or last[0]["launcher"] != self.config:
            return {}
        before, factor = last[0]["memory"], self._settings.memory_factor
        verdict = judge(known.stages, before, memory_factor=factor, tries={}, rounds=1)
        return _raised(verdict.memory, before, todo)

    # --- before and afterwards ---------------------------------------------------------

    def shape(
        self, stages: Sequence[Spec], store: Store, estimates: Mapping[str, Any] | None = None
    ) -> Shape:
        """Jobs, arrays, GPU hours and waves of what is still to be done; touches nothing.

        Args:
            stages: the stages wanted.
            store: knows what is done.
            estimates: stage key -> ``seconds`` and ``source`` ("measured", "scaled" or
                "assumed"), as `sweeper.planning.estimate.cost` makes them; without them, and where
                they are only assumed, a job counts with the time that it asks for.
        """
        todo = lacking(stages, store)
        planned = (
            self._dispatch.planned(todo, self._dispatch.request(todo.specs), STOCK_ARRAY)
            if todo.needed
            else []
        )
        units = [unit for array in planned for unit in array.units]
        limit = limits.tightest(self._dispatch.requests(units)) if units else None
        return shape(planned, estimates or {}, self._settings.array_parallelism, limit)

    def jobs(self, sweep_dir: Path) -> JobTable:
        """The state of every stage that was submitted for a sweep; one call of sacct."""
        return table(sweep_dir, Store(sweep_dir.parent.parent))

    def cancel(self, sweep_dir: Path, announce: Callable[[list[str]], None] = _quiet) -> Cancelled:
        """Cancel all that is queued or running of a sweep; see `queue.cancel`."""
        return queue.cancel(sweep_dir, announce)
