"""Whose a temporary directory is: `<anything>.<host>.<pid>.<random>`, and whether it is alive."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
from functools import cache
from pathlib import Path


@cache
def host() -> str:
    """This host, told apart from a container or an earlier boot of the same name.

    A process number means nothing outside its boot and its process namespace, so both
    are part of the name; where they cannot be read, the host name alone must do.
    """
    name = socket.gethostname().replace(".", "-") or "host"
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        mark = boot + os.readlink("/proc/self/ns/pid")
    except OSError:
        return name
    return f"{name}-{hashlib.sha256(mark.encode()).hexdigest()[:6]}"


def new_id() -> str:
    """A name for an attempt of this process that no other attempt has."""
    return f"{host()}.{os.getpid()}.{secrets.token_hex(4)}"


def is_dead(path: Path, older_than_s: float, now: float | None = None) -> bool:
    """Whether nobody works in this directory: its process is gone, or it is too old.

    The process can be asked only on its own host; elsewhere age decides (see `age_s`).
    """
    parts = path.name.split(".")
    if len(parts) >= 4 and parts[-3] == host() and parts[-2].isdigit():
        return not is_running(int(parts[-2]))
    return age_s(path, now) > older_than_s


def age_s(path: Path, now: float | None = None) -> float:
    """Seconds since anything in this directory changed; ``now`` in seconds since the epoch."""
    newest = 0.0
    for root, _, names in os.walk(path):
        for entry in (Path(root), *(Path(root, name) for name in names)):
            try:
                newest = max(newest, entry.lstat().st_mtime)
            except FileNotFoundError:
                continue
    try:
        newest = newest or path.lstat().st_mtime
    except FileNotFoundError:  # whoever was at work has just moved it to its place
        return 0.0
    return (time.time() if now is None else now) - newest


def is_running(pid: int) -> bool:
    """Whether a process of this host has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
