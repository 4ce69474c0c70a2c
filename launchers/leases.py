"""Advisory leases: who does a thing just now, on any host of a shared file system, without locks.

A lease is a directory with one numbered file for each time that it was taken; the highest
number holds it. To take it is to make the next number, which only one process can do (a
hard link is made once, on NFS too). Nobody ever removes or rewrites the highest file of
another: who takes a lease over from a dead holder makes a higher number, and who was taken
for dead finds that out from the numbers. So a lease that is broken by two at once has one
holder, and a holder that comes back deletes nothing of its successor's.

A holder touches its file every `BEAT_S` seconds. On the holder's own host its process is
asked instead, so a live one there is never taken for dead, however long it works.
"""

from __future__ import annotations

import getpass
import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from sweeper.store import files, process_id

BEAT_S = 15.0
EXPIRY_S = 120.0
"""Silence after which a holder elsewhere counts as dead; NFS may show times a minute late."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who has a lease.

    Attributes:
        id: of this very taking.
        host, pid, started: its process; ``started`` tells it from a later one of that number.
        user: whose.
        job: SLURM's id of its job; "" outside of jobs.
        since: in UTC, ISO 8601.
        released: whether it has let go.
    """

    id: str = field(default_factory=process_id.new_id)
    host: str = field(default_factory=process_id.host)
    pid: int = field(default_factory=os.getpid)
    started: str = ""
    user: str = field(default_factory=getpass.getuser)
    job: str = ""
    since: str = ""
    released: bool = False

    @property
    def here(self) -> bool:
        """Whether its process can be asked on this host."""
        return self.host == process_id.host()

    def __str__(self) -> str:
        """For people."""
        where = f"job {self.job}" if self.job else f"process {self.pid}"
        return f"{where} of {self.user} on {self.host}"


def of_stage(home: Path, key: str) -> Path:
    """The lease of a stage, whichever sweep of the home it is done for."""
    return home / "claims" / key


def stages(home: Path) -> set[str]:
    """Keys of the stages of a home that have a lease, in use or not."""
    try:
        return set(os.listdir(home / "claims"))
    except FileNotFoundError:
        return set()


class Lease:
    """A lease that this process has; see `take`."""

    def __init__(self, folder: Path, number: int, holder: Holder) -> None:
        self._path, self._number, self._holder = folder / str(number), number, holder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def held(self) -> bool:
        """Whether nobody has taken it over; False only after this process was silent for long."""
        return _highest(self._path.parent) == self._number

    def release(self) -> None:
        """Let go of it; a successor's is never touched."""
        self._stop.set()
        self._thread.join()
        if self.held():
            with suppress(OSError):  # a full disk: it is free when this process is gone
                files.write_whole(self._path, asdict(replace(self._holder, released=True)))

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            with suppress(OSError):  # taken over, or a disk that stutters: `held` tells
                os.utime(self._path)


def take(
    folder: Path, *, job: str = "", since: str = "", over: Callable[[Holder], bool] | None = None
) -> Lease | Holder:
    """Take a lease, or tell who has it.

    Args:
        folder: the lease; made if absent.
        job: SLURM's id of this process's job.
        since: now, for people.
        over: whether a holder is surely gone (its job has left the queue): then it is free at once.
    """
    mine = Holder(job=job, since=since, started=_started(os.getpid()))
    while True:
        folder.mkdir(parents=True, exist_ok=True)  # `isorate gc` removes those that are over
        number = _highest(folder)
        holder = _read(folder, number)
        if holder is not None and not _is_free(folder / str(number), holder, over):
            return holder
        if _make(folder, number + 1, mine):
            return Lease(folder, number + 1, mine)


def holder(folder: Path, over: Callable[[Holder], bool] | None = None) -> Holder | None:
    """Who has a lease and gives signs of life; None if nobody."""
    number = _highest(folder)
    found = _read(folder, number)
    if found is None or _is_free(folder / str(number), found, over):
        return None
    return found


def _make(folder: Path, number: int, mine: Holder) -> bool:
    """Make a number ours, unless another process has, and clear those below away."""
    aside, path = folder / f".{mine.id}", folder / str(number)
    try:
        files.write_json(aside, asdict(mine))
        os.link(aside, path)
    except (FileExistsError, FileNotFoundError):
        return False
    finally:
        aside.unlink(missing_ok=True)
    if _highest(folder) != number:  # what was seen of the directory was old
        path.unlink(missing_ok=True)
        return False
    for other in _numbers(folder):
        if other < number:
            (folder / str(other)).unlink(missing_ok=True)
    return True


def _numbers(folder: Path) -> list[int]:
    try:
        return [int(name) for name in os.listdir(folder) if name.isdigit()]
    except FileNotFoundError:
        return []


def _highest(folder: Path) -> int:
    return max(_numbers(folder), default=0)


def _read(folder: Path, number: int) -> Holder | None:
    """The holder of a number; None of 0, or if a successor has just cleared it away."""
    try:
        return Holder(**files.read_json(folder / str(number)))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, TypeError):  # a disk that was full: its age decides
        return Holder(id="", host="", pid=0, user="nobody known")


def _is_free(path: Path, holder: Holder, over: Callable[[Holder], bool] | None) -> bool:
    if holder.released:
        return True
    if holder.here:
        return not process_id.is_running(holder.pid) or _started(holder.pid) != holder.started
    if over is not None and over(holder):
        return True
    return silence_s(path) > EXPIRY_S


def silence_s(path: Path) -> float:
    """Seconds since a file was touched, by the clock of its own file system; infinite if absent."""
    try:
        with path.open("rb") as file:  # opening it asks the server afresh
            touched = os.fstat(file.fileno()).st_mtime
    except OSError:
        return float("inf")
    return files.clock(path.parent) - touched


def _started(pid: int) -> str:
    """When a process of this host began, in the kernel's ticks.

    "" where that is not told, and of one that is dead though nobody has asked how it ended.
    """
    try:
        told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if told[0] == "Z" else told[19]
    except (OSError, IndexError):
        return ""
