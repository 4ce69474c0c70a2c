"""Jobs that pull: equal elements of one array; each takes the next ready stage, again and again.

Nothing waits in the queue for something else, so a sweep waits there once; a stage whose job
was killed is taken up by the next worker at once; and one array makes its throttle a true cap.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launchers import slurm_queue
from launchers import slurm_records as records
from launchers.leases import Holder
from launchers.pull import Worker
from launchers.schedule import estimate
from launchers.slurm_arrays import Array
from launchers.slurm_commands import SlurmError
from launchers.slurm_job import attempt
from launchers.slurm_place import Journal, Place
from launchers.slurm_resources import Resources, joined, may_share
from launchers.slurm_units import FULL, Unit
from sweeper.errors import IsorateError
from sweeper.redact import log_to_stderr
from sweeper.store import Spec, Store
from sweeper.sweep import Sweep

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

Json = dict[str, Any]

_ASK_S = 30.0


def arrays(
    specs: Mapping[str, Spec],
    needed: Mapping[str, bool],
    request: Callable[[Spec], Resources],
    *,
    slots: int,
    startup_s: float,
) -> list[Array]:
    """One array for all stages, or one for each kind of place that they need.

    Args:
        specs: all stages by key, parents before children.
        needed: those to be carried out.
        request: what a stage asks for.
        slots: most jobs at a time.
        startup_s: seconds that a job takes beside its stages.

    Returns:
        Arrays of equal elements: at most as many at a time as end the work sooner, and as
        many in all as it takes if each leaves before its time limit.
    """
    found, total = [], sum(estimate(specs[key]) for key in needed)
    for keys in _places({key: request(specs[key]) for key in specs if key in needed}):
        resources = joined([request(specs[key]) for key in keys])
        seconds = sum(estimate(specs[key]) for key in keys)
        share = max(1, min(slots, round(slots * seconds / total)))
        width = min(share, _useful(specs, keys), len(keys))
        each = max(FULL * resources.seconds - startup_s, 1.0)
        count = max(width, min(math.ceil(seconds / each), len(keys)))
        one = Unit(
            keys=(), bulk=frozenset(), resources=resources, parents=frozenset(),
            seconds=seconds / count,
        )  # fmt: skip
        pulls = {key: round(estimate(specs[key]), 2) for key in keys}
        found.append(Array(units=(one,) * count, pulls=pulls, width=width))
    return found


def fewer(planned: Sequence[Array], most: int, largest: int | None = None) -> list[Array]:
    """The same with at most so many elements in all (but one in each), and in each array."""
    found, left = [], most - len(planned)
    for array in planned:
        extra = min(len(array.units) - 1, max(0, left), (largest or most) - 1)
        left -= extra
        found.append(replace(array, units=array.units[: 1 + extra]))
    return found


def _places(requests: Mapping[str, Resources]) -> list[list[str]]:
    """Stages that may be carried out in the same jobs; those without GPUs join some with."""
    groups: list[list[str]] = []
    for key in sorted(requests, key=lambda key: -requests[key].gpus):
        for group in groups:
            if may_share([requests[group[0]], requests[key]]):
                group.append(key)
                break
        else:
            groups.append([key])
    return groups


def _useful(specs: Mapping[str, Spec], keys: Sequence[str]) -> int:
    """How many jobs at a time end the work sooner: all the work, by the longest chain in it."""
    own = set(keys)
    chain: dict[str, float] = defaultdict(float)
    for key in (key for key in specs if key in own):
        above = [chain[p["key"]] for p in specs[key].get("parents", {}).values()]
        chain[key] = estimate(specs[key]) + max(above, default=0.0)
    return math.ceil(sum(estimate(specs[key]) for key in keys) / max(chain[key] for key in keys))


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
        limit_s: its time limit.
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
    limit_s: float
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
            sweep, estimates, place, self.submission, device=self.device, stages=self.stages,
            tries=self.tries, workers=self.workers, until=began + FULL * self.limit_s,
        )  # fmt: skip
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
    specs = {key: {**planned[key], "estimate_s": s} for key, s in estimates.items()}

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
        return f"it was begun {len(begun)} times" if len(begun) >= tries else ""

    return Worker(
        specs=specs, mine=estimates.keys(), store=store, workers=workers, attempt=carry_out,
        hopeless=hopeless, job=place.job if place.in_slurm else "",
        over=Gone() if place.in_slurm else None, until=until, now=records.now,
    )  # fmt: skip


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
                self._queue = frozenset(slurm_queue.mine())
            except SlurmError:
                self._queue = None
        known = self._queue is not None and holder.job and holder.user == Holder().user
        return bool(known) and holder.job not in (self._queue or ())
