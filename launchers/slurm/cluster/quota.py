"""What the quotas of user, group and project leave where the home is, asked of the site's tools."""

from __future__ import annotations

import getpass
import grp
import os
import re
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sweeper.errors import BadInput, IsorateError

MOUNTS = Path("/proc/self/mounts")
PATIENCE_S = 10.0
# file systems of which quota(1) knows all there is: no line from it means no quota
_PLAIN = {"ext2", "ext3", "ext4", "xfs", "nfs", "nfs4", "f2fs", "jfs", "gfs2", "ocfs2"}
_COUNT = r"\[?\d+\]?\*?"  # Lustre brackets what it is not sure of; * is over the limit
_ROW = re.compile(
    rf"^[ \t]*(?P<mount>/.*?)\s+\[?(?P<used>\d+)\]?\*?\s+\[?(?P<soft>\d+)\]?\*?\s+"
    rf"\[?(?P<hard>\d+)\]?\*?\s+\S+\s+{_COUNT}\s+{_COUNT}\s+{_COUNT}\s+\S+",
    re.MULTILINE,
)


class QuotaError(IsorateError):
    """A tool is missing, hung, or had nothing to say."""


class Declined(QuotaError):
    """A tool failed at one question; it may answer another."""


@dataclass(frozen=True, kw_only=True)
class Mount:
    """Where a file system is mounted, and its type."""

    point: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Account:
    """Whom a file system counts the home's files for.

    Attributes:
        option: of the tools: "-u", "-g" or "-p".
        name: of the user or group, or the project's number.
        words: how a person is told of it.
    """

    option: str
    name: str
    words: str


def check(home: Path, need_bytes: int, say: Callable[[str], None]) -> None:
    """Refuse what a quota on the home's file system does not leave room for.

    Args:
        home: exists.
        need_bytes: of checkpoints and masks; with none nothing is asked.
        say: told what could not be learned; that is never fatal.

    Raises:
        BadInput: key "home".
    """
    if need_bytes <= 0:
        return
    mount, unknown = mount_of(home), list[str]()
    try:
        for account in accounts(home, mount):
            try:
                free = left(mount, account)
            except Declined as error:
                unknown.append(str(error))
                continue
            if free is not None and free < need_bytes:
                raise BadInput(
                    "home",
                    home,
                    f"{need_bytes / 1e9:.1f} GB are needed, {account.words} on {mount.point} "
                    f"leaves {free / 1e9:.1f} GB.",
                    "Free some, ask for more, or name another directory: home=/path",
                )
    except QuotaError as error:
        unknown.append(str(error))
    for why in dict.fromkeys(unknown):
        say(f"how much room quotas on {mount.point} leave is not known: {why}")


def accounts(home: Path, mount: Mount) -> Iterator[Account]:
    """Whom new files below the home count for: the user, their group, and on Lustre a project.

    Raises:
        QuotaError: the project cannot be found out.
    """
    yield Account(option="-u", name=getpass.getuser(), words="your quota")
    group = _group(home)
    yield Account(option="-g", name=group, words=f"the quota of group {group}")
    if mount.kind == "lustre":
        # "1234 P /path"; 0 is no project
        number, *_ = (*_ask("lfs", "project", "-d", str(home)).split(), "0")
        if number != "0":
            yield Account(option="-p", name=number, words=f"the quota of project {number}")


def _group(home: Path) -> str:
    """The group of new files: the directory's own if it hands that on, else the process's."""
    found = home.stat()
    number = found.st_gid if found.st_mode & stat.S_ISGID else os.getegid()
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def mount_of(path: Path) -> Mount:
    """The file system that a path lies on, by the kernel's table (nothing else is touched)."""
    real, found = path.resolve(), Mount(point="/", kind="unknown")
    for line in MOUNTS.read_text().splitlines():
        _, point, kind, *_ = line.split(" ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)
        # of two on the same directory, and of those above each other, the last is seen
        if real.is_relative_to(point) and len(point) >= len(found.point):
            found = Mount(point=point, kind=kind)
    return found


def left(mount: Mount, account: Account) -> int | None:
    """Bytes that may still be written for an account; None: there is no limit.

    The hard limit counts, or the soft one where that is the only one.

    Raises:
        QuotaError: nothing is known.
    """
    if mount.kind == "lustre":
        said = _ask("lfs", "quota", "-q", account.option, account.name, mount.point)
    else:
        layout = ("-w", "-p", "--hide-device", "--show-mntpoint")
        said = _ask("quota", account.option, *layout, account.name)
    rows = [row for row in _ROW.finditer(said) if row["mount"] == mount.point]
    if not rows:
        if mount.kind in _PLAIN:
            return None
        raise QuotaError(f"the tools here say nothing of a {mount.kind} file system")
    used, soft, hard = (1024 * int(rows[0][name]) for name in ("used", "soft", "hard"))
    limit = hard or soft
    return max(0, limit - used) if limit else None


def _ask(*command: str) -> str:
    """What a tool prints in English; one stuck on a dead server is left behind.

    Raises:
        QuotaError: it is missing, hung, or failed.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
    except OSError as error:
        raise QuotaError(f"{command[0]} cannot be run here ({error.strerror})") from None
    try:
        said, complaint = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        _abandon(process)
        raise QuotaError(f"{command[0]} did not answer in {PATIENCE_S:g} s") from None
    # quota(1) also ends with an error if some file system is over its limit
    if process.returncode and not _ROW.search(said):
        why = (complaint or said).strip() or f"exit status {process.returncode}"
        raise Declined(f"{command[0]} failed: {why}")
    return said


def _abandon(process: subprocess.Popen[str]) -> None:
    """Kill a tool with its children, without waiting for what cannot be killed."""
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1.0)
