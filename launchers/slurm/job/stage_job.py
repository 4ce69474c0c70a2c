"""What runs on a compute node: the stages of one SLURM job, one after the other.

submitit pickles a `StageJob`: keys and paths only. The stages themselves are read from the
plan that the sweep has recorded, and what each attempt did is left in a file of its own.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launchers import leases
from launchers.leases import Holder, Lease
from launchers.slurm.job.attempt import Journal, Place
from sweeper.errors import IsorateError
from sweeper.modeling import kernels
from sweeper.planning.sweep import Sweep
from sweeper.redaction import log_to_stderr
from sweeper.store.store import Spec, Store
from sweeper.worker.failure import explain
from sweeper.worker.runner import Bench, find_stage, name, run_stage

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

Json = dict[str, Any]

BLOCKED = "blocked"
"""The ending of a stage that could not begin."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StageJob:
    """The stages of one SLURM job; submitit calls it, and `checkpoint` before it is requeued.

    Attributes:
        home: the home of store and sweep.
        sweep: name of the sweep, whose recorded plans have the stages.
        submission: which submission it belongs to.
        keys: the stages, parents before children.
        bulk: those whose checkpoint must be there afterwards.
        device: "cpu" or "cuda".
        stages: package with the modules of the stages.
        restarts: how often SLURM may start it again.
    """

    home: str
    sweep: str
    submission: str
    keys: tuple[str, ...]
    bulk: frozenset[str]
    device: str
    stages: str
    restarts: int

    def __call__(self) -> list[str]:
        """Carry out what the store lacks.

        Returns:
            The keys, when all are done.

        Raises:
            IsorateError: at least one did not come about; SLURM then cancels what waits for it.
        """
        log_to_stderr()
        place, sweep = Place.here(), Sweep(Path(self.home), self.sweep)
        if place.restart > self.restarts:
            raise IsorateError(f"started again {place.restart} times, {self.restarts} are allowed")
        specs = sweep.load()["stages"]
        kernels.choose(specs[key] for key in self.keys)
        endings: dict[str, Json] = {}
        for key in self.keys:
            parents = [p["key"] for p in specs[key]["parents"].values()]
            above = [endings[p] for p in parents if p in endings]
            ending = (
                self._blocked(specs[key], sweep, place, above[0])
                if above
                else self._attempt(specs[key], sweep, place)
            )
            if ending is not None:
                endings[key] = ending
        if endings:
            said = ("{} {}: {}".format(*name(specs[k]), e["message"]) for k, e in endings.items())
            raise IsorateError("\n".join(said))
        return list(self.keys)

    def checkpoint(self) -> DelayedSubmission:
        """The same once more: finished stages are in the store, half an evaluation in scratch."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _blocked(self, spec: Spec, sweep: Sweep, place: Place, above: Json) -> Json:
        """How a stage ended that could not begin: what it needs ended like ``above``."""
        message = f"a stage that it needs did not come about: {above['message']}"
        ending = {"event": BLOCKED, "error": BLOCKED, "message": message, "again": above["again"]}
        Journal(spec, sweep, place, self.submission).end(ending)
        return ending

    def _attempt(self, spec: Spec, sweep: Sweep, place: Place) -> Json | None:
        """How an attempt of one stage ended badly, else None."""
        store, bulk = Store(Path(self.home)), spec["key"] in self.bulk
        if store.present(spec, bulk=bulk):
            return None
        # Its heartbeat tells others that this is alive. Who has it does not matter here: the
        # job of a dead node may start again while its orphan still works, and both are harmless.
        lease: Lease | Holder | None = None
        with suppress(OSError):  # a full disk is the stage's own to tell, with what to do
            lease = leases.take(leases.of_stage(store.home, spec["key"]), job=place.job)
        try:
            return attempt(
                spec,
                store,
                Journal(spec, sweep, place, self.submission),
                device=self.device,
                stages=self.stages,
                bulk=bulk,
            )
        finally:
            if isinstance(lease, Lease):
                lease.release()


def attempt(
    spec: Spec, store: Store, journal: Journal, *, device: str, stages: str, bulk: bool
) -> Json | None:
    """Carry out one stage and write down how it went.

    Args:
        spec: the stage.
        store: where its output goes.
        journal: of this attempt.
        device: "cpu" or "cuda".
        stages: package with the modules of the stages.
        bulk: whether for its checkpoint.

    Returns:
        How it ended badly, else None.
    """
    from submitit.core.utils import UncompletedJobError

    bench = Bench(find=partial(find_stage, package=stages), device=device, facts=journal.manifest)
    try:
        with _output_to(journal.log):
            run_stage(spec, store, bench, bulk=bulk)
    except UncompletedJobError as out_of_time:
        journal.end(
            {
                "event": "attempt_ended",
                "error": "UncompletedJobError",
                "message": str(out_of_time),
                "again": True,
            }
        )
        raise
    except Exception as error:
        log.exception("%s %s did not succeed", *name(spec))
        ending = explain(error, store.home).as_json()
        journal.end(ending)
        return ending
    journal.end(None)
    return None


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Append all that this process prints, from C code too, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    kept = os.dup(1), os.dup(2)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        yield
    finally:
        _flush()
        for number, old in enumerate(kept, start=1):
            os.dup2(old, number)
            os.close(old)
        os.close(file)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
