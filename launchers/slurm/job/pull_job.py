"""What a job does that pulls: it takes the next ready stage of its sweep, again and again."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launchers.leases import Holder
from launchers.pull import Worker
from launchers.slurm import records
from launchers.slurm.cluster import queue
from launchers.slurm.cluster.commands import SlurmError
from launchers.slurm.job.attempt import Journal, Place
from launchers.slurm.job.deaths import Deaths
from launchers.slurm.job.stage_job import attempt
from launchers.slurm.status import ran_out
from sweeper.errors import IsorateError
from sweeper.modeling import kernels
from sweeper.planning.sweep import Sweep
from sweeper.redaction import log_to_stderr
from sweeper.results.launcher_record import JOBS
from sweeper.store.store import Spec, Store

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

Json = dict[str, Any]

_ASK_S = 30.0
NEXT_ROUND = "it ran out of memory: the next round asks for more, equal jobs have no more"


@dataclass(frozen=True, kw_only=True)
class PullJob:
    """One element; submitit calls it, and `checkpoint` before it is requeued.

    Attributes:
        home: the home of store and sweep.
        sweep: name of the sweep.
        submission: which submission it belongs to; its record has the stages.
        array: which of its arrays.
        device: "cpu" or "cuda".
        stages: package with the modules of the stages.
        restarts: how often SLURM may start it again.
        tries: how often a stage is begun in this submission.
        time_s: seconds after which it begins nothing new.
        workers: how many there are.
    """

    home: str
    sweep: str
    submission: str
    array: int
    device: str
    stages: str
    restarts: int
    tries: int
    time_s: float
    workers: int

    def __call__(self) -> list[str]:
        """Carry out stages until none is left or the time is nearly over; their keys."""
        log_to_stderr()
        began, place = time.monotonic(), Place.here()
        if place.restart > self.restarts:
            raise IsorateError(f"started again {place.restart} times, {self.restarts} are allowed")
        sweep = Sweep(Path(self.home), self.sweep)
        estimates = records.submission(sweep.path, self.submission)["arrays"][self.array]["pulls"]
        worker = make(
            sweep,
            estimates,
            place,
            self.submission,
            device=self.device,
            stages=self.stages,
            tries=self.tries,
            workers=self.workers,
            until=began + self.time_s,
        )
        worker.run()
        return worker.done

    def checkpoint(self) -> DelayedSubmission:
        """The same once more: finished stages are in the store, half an evaluation in scratch."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def make(
    sweep: Sweep,
    estimates: Mapping[str, float],
    place: Place,
    submission: str,
    *,
    device: str,
    stages: str,
    tries: int,
    workers: int = 1,
    until: float = float("inf"),
) -> Worker:
    """A worker for stages of a sweep.

    Args:
        sweep: whose recorded plans have the stages.
        estimates: the stages that it may carry out -> expected seconds.
        place: where it works.
        submission: under which its attempts count; those of others do not.
        device: "cpu" or "cuda".
        stages: package with the modules of the stages.
        tries: how often a stage may be begun, all workers together.
        workers: how many there are.
        until: see `Worker`.
    """
    store, planned = Store(sweep.home), sweep.load()["stages"]
    specs: dict[str, Spec] = {
        key: {**planned[key], "estimate_s": s} for key, s in estimates.items()
    }
    kernels.choose(specs.values())

    def carry_out(spec: Spec, bulk: bool) -> Json | None:
        own = (a for a in mine(spec["key"]) if (a["job"], a["restart"]) == place.execution)
        at = replace(place, again=len(list(own)))
        journal = Journal(spec, sweep, at, submission)
        return attempt(spec, store, journal, device=device, stages=stages, bulk=bulk)

    def mine(key: str) -> list[Json]:
        return [a for a in records.attempts(sweep.path, key) if a["submission"] == submission]

    def hopeless(key: str) -> str:
        begun = mine(key)
        for one in begun:
            if (ending := one.get("ending")) and not ending["again"]:
                return str(ending["message"])
            if place.in_slurm and ending and ran_out(ending):
                return NEXT_ROUND
        return f"it was begun {len(begun)} times" if len(begun) >= tries else ""

    def fatal(key: str) -> str:
        silent = (a for a in mine(key) if not a.get("ending") and a["job"] != place.job)
        return NEXT_ROUND if any(deaths.of_memory(one) for one in silent) else ""

    deaths = Deaths(sweep.path / JOBS / submission)

    return Worker(
        specs=specs,
        mine=estimates.keys(),
        store=store,
        workers=workers,
        attempt=carry_out,
        hopeless=hopeless,
        fatal=fatal if place.in_slurm else lambda key: "",
        job=place.job if place.in_slurm else "",
        over=Gone() if place.in_slurm else None,
        until=until,
        now=records.now,
    )


class Gone:
    """Whether the holder of a lease is a job of ours that has left the queue; asked rarely."""

    def __init__(self) -> None:
        self._queue: frozenset[str] | None = None
        self._asked = -math.inf

    def __call__(self, holder: Holder) -> bool:
        """Whether it has; False where SLURM does not say."""
        if time.monotonic() - self._asked > _ASK_S:
            self._asked = time.monotonic()
            try:
                self._queue = frozenset(queue.mine())
            except SlurmError:
                self._queue = None
        known = self._queue is not None and holder.job and holder.user == Holder().user
        return bool(known) and holder.job not in (self._queue or ())
