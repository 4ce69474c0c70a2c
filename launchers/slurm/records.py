"""What was submitted, and what attempts did: JSON files below a sweep, one writer each.

<sweep>/jobs/<submission>.json            one call of sbatch after the other, rewritten by
the process that submits, and by no other
<sweep>/jobs/<submission>.round.json      what the repair-and-collect job found and did; what the
front end reads of these two: `sweeper.results.launcher_record`
<sweep>/jobs/<submission>/                submitit's scripts, pickles and logs
<sweep>/jobs/attempts/<stage>/<job>.<restart>.json
<sweep>/jobs/claim                        advisory: who submits just now
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweeper.errors import IsorateError
from sweeper.results.launcher_record import JOBS
from sweeper.store import files
from sweeper.store.process_id import host, new_id

Json = dict[str, Any]

_CLAIM_STALE_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Element:
    """One SLURM job of a submission.

    Attributes:
        job: SLURM's id: "12", "12_3".
        keys: its stages, parents before children.
        seconds: expected.
        submission, submitted: which one, and when (seconds since the epoch).
        log: what it printed.
    """

    job: str
    keys: tuple[str, ...]
    seconds: float
    submission: str
    submitted: float
    log: Path


def new_submission() -> str:
    """A name that no other submission has; names sort by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"[:-3] + f"-{secrets.token_hex(3)}"


def now() -> str:
    """This moment, as the files have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def who() -> Json:
    """Who writes a file, and when."""
    return {"created": now(), "host": socket.gethostname(), "user": getpass.getuser()}


def elements(sweep: Path, records: list[Json]) -> list[Element]:
    """All jobs with stages, in the order of their submission."""
    found: list[Element] = []
    for record in records:
        submitted = datetime.fromisoformat(record["created"]).timestamp()
        folder = sweep / JOBS / record["submission"]
        for array in record["arrays"]:
            parts = zip(array["jobs"], array["units"], array["seconds"], strict=False)
            for job, keys, seconds in parts:
                found.append(
                    Element(
                        job=job,
                        keys=tuple(keys),
                        seconds=seconds,
                        submission=record["submission"],
                        submitted=submitted,
                        log=folder / f"{job}_0_log.err",
                    )
                )
    return found


def attempt_file(sweep: Path, key: str, job: str, restart: int) -> Path:
    """Where one attempt of a stage is described, by itself."""
    return sweep / JOBS / "attempts" / key / f"{job}.{restart}.json"


def attempts(sweep: Path, key: str) -> list[Json]:
    """All attempts of a stage that began, the oldest first."""
    found = []
    for path in (sweep / JOBS / "attempts" / key).glob("*.json"):
        with suppress(json.JSONDecodeError, FileNotFoundError):  # its node died while writing
            found.append(files.read_json(path))
    return sorted(found, key=lambda attempt: str(attempt["started"]))


@contextmanager
def claim(sweep: Path, *, wait_s: float, say: Callable[[str], None]) -> Iterator[None]:
    """Keep others from submitting the same sweep meanwhile; a claim of the dead is stale.

    Raises:
        IsorateError: someone else holds it and did not let go in ``wait_s`` seconds.
    """
    path = sweep / JOBS / "claim"
    path.parent.mkdir(parents=True, exist_ok=True)
    until, told = time.monotonic() + wait_s, False
    while not _take(path):
        holder = _holder(path)
        if holder is None or _is_stale(holder):
            path.unlink(missing_ok=True)
            continue
        if time.monotonic() > until:
            raise IsorateError(
                f"process {holder['pid']} on {holder['host']} has been submitting this sweep since "
                f"{holder['since']}. If it is gone, delete {path} and run again."
            )
        if not told:
            say(
                f"waiting for process {holder['pid']} on {holder['host']}, which submits this sweep"
            )
            told = True
        time.sleep(0.5)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _take(path: Path) -> bool:
    """Make the claim ours unless there is one; a link is made once even on NFS."""
    aside = path.with_name(f".claim.{new_id()}")
    mark = {"host": host(), "pid": os.getpid(), "since": now(), "time": time.time()}
    files.write_json(aside, mark)
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    finally:
        aside.unlink()
    return True


def _holder(path: Path) -> Json | None:
    try:
        holder: Json = files.read_json(path)
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return holder


def _is_stale(holder: Json) -> bool:
    if holder["host"] == host():
        try:
            os.kill(holder["pid"], 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
    return time.time() - float(holder["time"]) > _CLAIM_STALE_S
