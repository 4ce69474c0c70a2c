"""The home of a store: whether it can be written, who is at work in it, what dead ones left."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from sweeper.errors import BadInput
from sweeper.store import files, process_id, progress
from sweeper.store.progress import Headway

SILENT_S = 3600.0
ABANDONED_S = 7 * 86400.0
_PARTIAL = re.compile(r"\..+\.[^.]+\.\d+\.[0-9a-f]{8}")


def check_home(home: Path, tmp: Path, need_bytes: int = 0) -> None:
    """Refuse a home that cannot be written, or with less than ``need_bytes`` free.

    Raises:
        BadInput: key "home".
    """
    if not str(home).isprintable():
        raise BadInput("home", repr(str(home)), "valid: a path without control characters.")
    for path in (tmp.parent, tmp):
        if path.is_symlink():
            raise BadInput(
                "home",
                home,
                f"{path} is a link; nothing outside of the home is ever touched.",
                f"Name the real place: home={path.resolve().parent}",
            )
    probe = tmp / f"probe.{process_id.new_id()}"
    try:
        tmp.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\0" * 65536)
        free = os.statvfs(tmp)
    except OSError as error:
        raise BadInput(
            "home",
            home,
            f"it cannot be written ({error.strerror}).",
            "Name a directory on a disk with room that you may write: home=/path",
        ) from error
    finally:
        with suppress(OSError):
            probe.unlink()
    if free.f_bavail * free.f_frsize < need_bytes:
        raise BadInput(
            "home",
            home,
            f"{need_bytes / 1e9:.1f} GB are needed, "
            f"{free.f_bavail * free.f_frsize / 1e9:.1f} GB are free.",
            "Free some, or use checkpoints=drop, or name another directory: home=/path",
        )


def at_work(tmp: Path) -> dict[str, Headway]:
    """Key of every stage that is at work now -> the attempt that is furthest.

    Elsewhere than on this host, an attempt counts for an hour after its last sign.
    """
    found: dict[str, Headway] = {}
    for path in entries(tmp):
        key, *rest = path.name.split(".")
        if len(rest) == 3 and not process_id.is_dead(path, SILENT_S):
            said = progress.read(path, rest[0].rpartition("-")[0] or rest[0])
            if key not in found or said.fraction > found[key].fraction:
                found[key] = said
    return found


def leftovers(root: Path, older_than_s: float, *, damaged: bool) -> list[Path]:
    """What the dead left below a store and among the sweeps; ``damaged``: what was set aside too.

    An attempt is dead if its process on this very host is gone, or if nothing below its
    directory has changed for ``older_than_s``. Of leases (``claims``), which are touched as long
    as somebody is at the stage, an hour is enough once the stage is done. Links are not followed.
    """
    if root.is_symlink():
        return []
    now = files.clock(root / "tmp")
    found = [p for p in entries(root / "tmp") if process_id.is_dead(p, older_than_s, now)]
    outputs = kinds(root)
    done = {p.name for kind in outputs for p in entries(kind) if "." not in p.name}
    found += [
        p
        for p in entries(root / "scratch")
        if p.name in done or process_id.age_s(p, now) > older_than_s
    ]
    found += [
        p for p in partials(root.parent / "sweeps") if process_id.is_dead(p, older_than_s, now)
    ]
    found += [
        p
        for p in entries(root.parent / "claims")
        if process_id.age_s(p, now) > (SILENT_S if p.name in done else older_than_s)
    ]
    if damaged:
        found += [p for kind in outputs for p in entries(kind) if ".damaged." in p.name]
    return found


def partials(sweeps: Path) -> list[Path]:
    """Records of sweeps that are being written, or were when their process died."""
    if sweeps.is_symlink():
        return []
    below = (Path(root, name) for root, _, names in os.walk(sweeps) for name in names)
    return sorted(path for path in below if _PARTIAL.fullmatch(path.name))


def kinds(root: Path) -> list[Path]:
    """The directories of a store that hold outputs, one for each kind of stage."""
    return [path for path in entries(root) if path.name not in ("tmp", "scratch", "kin")]


def entries(directory: Path) -> list[Path]:
    """What lies in a directory; nothing if it is absent or a link that leaves the home."""
    if directory.is_symlink() or not directory.is_dir():
        return []
    return sorted(directory.iterdir())
