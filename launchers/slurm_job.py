"""What runs on a compute node: the stages of one SLURM job, one after the other.

submitit pickles a `StageJob`: keys and paths only. The stages themselves are read from the
plan that the sweep has recorded, and what each attempt did is left in a file of its own.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launchers import slurm_records as records
from sweeper.endings import explain
from sweeper.errors import IsorateError
from sweeper.meter import peak_rss_bytes
from sweeper.store import Spec, Store
from sweeper.sweep import Sweep
from sweeper.worker import Bench, find_stage, name, run_stage

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

Json = dict[str, Any]

BLOCKED = "blocked"
"""The ending of a stage that could not begin."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an attempt runs, as SLURM's environment tells."""

    job: str
    restart: int
    node: str
    partition: str
    gpus: int

    @classmethod
    def here(cls) -> Place:
        """This process's place."""
        env = os.environ
        array = env.get("SLURM_ARRAY_JOB_ID")
        task = f"{array}_{env['SLURM_ARRAY_TASK_ID']}" if array else env["SLURM_JOB_ID"]
        on_node = env.get("SLURM_GPUS_ON_NODE", "0")
        return cls(
            job=task,
            restart=int(env.get("SLURM_RESTART_COUNT", "0")),
            node=env.get("SLURMD_NODENAME", socket.gethostname()),
            partition=env.get("SLURM_JOB_PARTITION", ""),
            gpus=int(on_node) if on_node.isdigit() else 0,
        )


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
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
        place, sweep = Place.here(), Sweep(Path(self.home), self.sweep)
        if place.restart > self.restarts:
            raise IsorateError(f"started again {place.restart} times, {self.restarts} are allowed")
        specs = sweep.load()["stages"]
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
        _Journal(spec, sweep, place, self.submission).end(ending)
        return ending

    def _attempt(self, spec: Spec, sweep: Sweep, place: Place) -> Json | None:
        """How an attempt of one stage ended badly, else None."""
        from submitit.core.utils import UncompletedJobError

        store = Store(Path(self.home))
        bulk = spec["key"] in self.bulk
        if store.present(spec, bulk=bulk):
            return None
        journal = _Journal(spec, sweep, place, self.submission)
        bench = Bench(
            find=partial(find_stage, package=self.stages), device=self.device,
            facts={"slurm": journal.facts()},
        )  # fmt: skip
        try:
            with _output_to(journal.log):
                run_stage(spec, store, bench, bulk=bulk)
        except UncompletedJobError as out_of_time:
            journal.end({"event": "attempt_ended", "error": "UncompletedJobError",
                         "message": str(out_of_time), "again": True})  # fmt: skip
            raise
        except Exception as error:
            log.exception("%s %s did not succeed", *name(spec))
            ending = explain(error, store.home).as_json()
            journal.end(ending)
            return ending
        journal.end(None)
        return None


class _Journal:
    """The file that describes one attempt: written when it begins, again when it ends."""

    def __init__(self, spec: Spec, sweep: Sweep, place: Place, submission: str) -> None:
        self._earlier = records.attempts(sweep.path, spec["key"])
        self._path = records.attempt_file(sweep.path, spec["key"], place.job, place.restart)
        self._began = time.monotonic()
        self._gpus = place.gpus
        self.log = sweep.logs / f"{spec['kind']}-{spec['key']}.{place.job}.{place.restart}.log"
        self._what: Json = {
            "key": spec["key"], "job": place.job, "restart": place.restart, "node": place.node,
            "partition": place.partition, "gpus": place.gpus, "submission": submission,
            "started": records.now(), "log": str(self.log),
        }  # fmt: skip
        records.write(self._path, self._what)

    def facts(self) -> Json:
        """What the manifest keeps: this attempt, and those before it."""
        own = ("job", "restart", "node", "partition", "gpus", "submission")
        return {
            **{key: self._what[key] for key in own},
            "earlier_attempts": [_brief(attempt) for attempt in self._earlier],
        }

    def end(self, ending: Json | None) -> None:
        """Write how it went; None means that its stage is done."""
        seconds = time.monotonic() - self._began
        self._what |= {
            "ended": records.now(), "seconds": round(seconds, 3),
            "gpu_hours": round(self._gpus * seconds / 3600, 6),
            "peak_rss_bytes": peak_rss_bytes(), "ending": ending,
        }  # fmt: skip
        records.write(self._path, self._what)


def _brief(attempt: Json) -> Json:
    kept = ("job", "restart", "node", "started", "ended", "seconds", "gpu_hours", "peak_rss_bytes")
    brief = {key: attempt[key] for key in kept if key in attempt}
    return brief | {"ending": (attempt.get("ending") or {}).get("error", "")}


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Append all that this process prints, from C code too, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    kept = os.dup(1), os.dup(2)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
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
