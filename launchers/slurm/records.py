"""What was submitted, and what attempts did: JSON files below a sweep, one writer each.

<sweep>/jobs/<submission>.json            one call of sbatch after the other, rewritten by
the process that submits, and by no other
<sweep>/jobs/<submission>.round.json      what the repair-and-collect job found and did; what the
front end reads of these two: `sweeper.results.launcher_record`
<sweep>/jobs/<submission>/                submitit's scripts, pickles and logs
<sweep>/jobs/attempts/<stage>/<job>.<restart>.json
<sweep>/jobs/submitting/                  a lease: who submits just now (see `launchers.leases`)
"""

from __future__ import annotations

import getpass
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launchers import leases
from launchers.leases import Lease
from sweeper.errors import IsorateError
from sweeper.results.launcher_record import JOBS
from sweeper.store import files

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Element:
    """One SLURM job of a submission.

    Attributes:
        job: SLURM's id: "12", "12_3".
        keys: its stages, parents before children.
        seconds: expected.
        submission, submitted: which one, and when (seconds since the epoch).
        user: who submitted it.
        after: ids of the jobs that must have ended well before it starts.
        log: what it printed.
    """

    job: str
    keys: tuple[str, ...]
    seconds: float
    submission: str
    submitted: float
    user: str
    after: tuple[str, ...]
    log: Path

    @property
    def began(self) -> bool:
        """Whether SLURM ever started it: its script prints from the first moment on."""
        return self.log.exists() or self.log.with_suffix(".out").exists()


def new_submission() -> str:
    """A name that no other submission has; names sort by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"[:-3] + f"-{secrets.token_hex(3)}"


def now() -> str:
    """This moment, as the files have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def who() -> Json:
    """Who writes a file, and when."""
    return {"created": now(), "host": socket.gethostname(), "user": getpass.getuser()}


def submission(sweep: Path, name: str) -> Json:
    """One of them."""
    record: Json = files.read_json(sweep / JOBS / f"{name}.json")
    return record


@dataclass(frozen=True, kw_only=True)
class Pull:
    """Stages that equal jobs of one array take one after the other.

    Attributes:
        jobs: SLURM's ids.
        seconds: key of a stage -> expected.
        submission: which one.
    """

    jobs: tuple[str, ...]
    seconds: Mapping[str, float]
    submission: str


def pulls(record: Json) -> list[Pull]:
    """What the jobs of one submission take for themselves; [] if each has its own stages."""
    return [
        Pull(jobs=tuple(a["jobs"]), seconds=a["pulls"], submission=record["submission"])
        for a in record["arrays"]
        if a.get("pulls") and a["jobs"]
    ]


def elements(sweep: Path, records: list[Json]) -> list[Element]:
    """All jobs with stages, in the order of their submission."""
    found: list[Element] = []
    for record in records:
        submitted = datetime.fromisoformat(record["created"]).timestamp()
        folder = sweep / JOBS / record["submission"]
        for array in record["arrays"]:
            parts = zip(array["jobs"], array["units"], array["seconds"], strict=False)
            for n, (job, keys, seconds) in enumerate(parts):
                found.append(
                    Element(
                        job=job,
                        keys=tuple(keys),
                        seconds=seconds,
                        submission=record["submission"],
                        submitted=submitted,
                        user=record["user"],
                        after=tuple(
                            array["after"][n]
                            if "after" in array
                            else _after(array["dependency"], n)
                        ),
                        log=folder / f"{job}_0_log.err",
                    )
                )
    return found


def _after(dependency: str, element: int) -> Iterator[str]:
    """Ids of the jobs that one element of an array waits for ("aftercorr:7,afterok:12_3:9")."""
    for part in filter(None, dependency.split(",")):
        kind, *jobs = part.split(":")
        yield from (f"{job}_{element}" if kind == "aftercorr" else job for job in jobs)


def is_over(sweep: Path, record: Json) -> bool:
    """Whether all jobs of a submission have ended: its round waits for them, and has run."""
    return (sweep / JOBS / f"{record['submission']}.round.json").exists()


def attempt_file(sweep: Path, key: str, run: str) -> Path:
    """Where one attempt of a stage is described, by itself; ``run`` is <job>.<restart>."""
    return sweep / JOBS / "attempts" / key / f"{run}.json"


def attempts(sweep: Path, key: str) -> list[Json]:
    """All attempts of a stage that began, the oldest first."""
    found = []
    for path in (sweep / JOBS / "attempts" / key).glob("*.json"):
        with suppress(json.JSONDecodeError, FileNotFoundError):  # its node died while writing
            found.append(files.read_json(path))
    return sorted(found, key=lambda attempt: str(attempt["started"]))


@contextmanager
def claim(sweep: Path, *, wait_s: float, say: Callable[[str], None]) -> Iterator[Lease]:
    """Keep others from submitting the same sweep meanwhile; see `launchers.leases`.

    Raises:
        IsorateError: someone else holds it and did not let go in ``wait_s`` seconds.
    """
    folder = sweep / JOBS / "submitting"
    until, told = time.monotonic() + wait_s, False
    while not isinstance(got := leases.take(folder, since=now()), Lease):
        if time.monotonic() > until:
            raise IsorateError(
                f"{got} has been submitting this sweep since {got.since}, and gives signs of "
                f"life. Wait for it, or stop it there; if neither can be, delete {folder}."
            )
        if not told:
            say(f"waiting for {got}, which submits this sweep")
            told = True
        time.sleep(0.5)
    try:
        yield got
    finally:
        got.release()
