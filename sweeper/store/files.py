"""Files that are whole or absent: flushed writes, hashes, and removal that follows no link."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shlex
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sweeper.errors import IsorateError
from sweeper.store import process_id

OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)
"""How a rename fails if a directory with something in it is there already."""


def sha256(path: Path) -> str:
    """Hex digest of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def joined_sha256(paths: Iterable[Path]) -> str:
    """Hex digest of what several files are together, in their order."""
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                whole.update(block)
    return whole.hexdigest()


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def write_json(path: Path, value: Mapping[str, Any] | list[Any]) -> None:
    """Write strict JSON to a new or existing ``path`` and flush it to the disk.

    Not atomic by itself: meant for a directory that nobody sees yet.

    Raises:
        ValueError: the value holds NaN or an infinity, which are not JSON.
    """
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    with path.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file that is there whole or not at all, whoever else writes the same one.

    A killed process can leave a part of it under another name, which `housekeeping` finds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{process_id.new_id()}")
    try:
        write_json(partial, value)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    flush_directory(path.parent)


def write_once(path: Path, value: Mapping[str, Any]) -> bool:
    """Write a JSON file whole unless one is there: of several writers the first one wins.

    Returns:
        Whether this writer was the first; on a network file system it may be and not know it.
    """
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{process_id.new_id()}")
    try:
        write_json(partial, value)
        os.link(partial, path)
    except FileExistsError:
        return False
    finally:
        with suppress(OSError):
            partial.unlink()
    flush_directory(path.parent)
    return True


def read_json(path: Path) -> Any:
    """Parse a JSON file (UTF-8)."""
    return json.loads(path.read_text(encoding="utf-8"))


def walk(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Each regular file below ``directory``: its POSIX path relative to it, and its stat.

    Raises:
        IsorateError: there is a link or a device, which no output may hold.
    """
    for entry in sorted(os.scandir(directory), key=lambda e: e.name):
        if entry.is_dir(follow_symlinks=False):
            for name, stat in walk(Path(entry.path)):
                yield f"{entry.name}/{name}", stat
        elif entry.is_file(follow_symlinks=False):
            yield entry.name, entry.stat(follow_symlinks=False)
        else:
            raise IsorateError(f"{entry.path}: an output may hold plain files only, no links")


def size(directory: Path) -> int:
    """Bytes of all files below a directory; 0 if it is absent."""
    return sum(s.st_size for _, s in walk(directory)) if directory.is_dir() else 0


def follow_umask(path: Path) -> None:
    """Give a file, or all files below a directory, the permissions that the umask leaves.

    Some libraries write files that only their owner may read, or that nobody else may write;
    those who share a home have chosen their umask for that.
    """
    allowed = 0o666 & ~_umask()
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o666 != allowed:
            with suppress(PermissionError):  # another user's file
                file.chmod((mode & ~0o666) | allowed)


def _umask() -> int:
    """Of this process; asking the system would set it for a moment, in all threads."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").split("\n")
        return next(int(line.split()[1], 8) for line in lines if line.startswith("Umask:"))
    except (OSError, StopIteration):  # not Linux
        mask = os.umask(0o022)
        os.umask(mask)
        return mask


def flush_tree(directory: Path) -> None:
    """Force every file and directory below (and including) ``directory`` to the disk."""
    for root, _, names in os.walk(directory):
        for name in names:
            _flush(Path(root, name))
        _flush(Path(root))


def flush_directory(directory: Path) -> None:
    """Force a directory's entries (a rename, say) to the disk."""
    _flush(directory)


def private(directory: Path) -> None:
    """Make a directory that nobody else may enter, or make sure that it is one.

    Raises:
        IsorateError: it is a link, another user's, or others may enter it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise IsorateError(
            f"{directory} must be a directory of yours that nobody else may enter: programs are "
            f"loaded from it. Look at what is in it, then: chmod 700 {shlex.quote(str(directory))}"
        )


def look_again(directory: Path) -> None:
    """Have a network file system ask its server what lies here.

    An NFS client remembers for a while that a file was absent; opening the directory ends that.
    """
    with suppress(FileNotFoundError):
        os.close(os.open(directory, os.O_RDONLY))


def clock(directory: Path) -> float:
    """What time it is for the file system itself, whose times are to be compared with it.

    The clock of this host may have jumped, or differ from the server's.
    """
    probe = directory / f"clock.{process_id.new_id()}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:  # a home that can only be read
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Delete a file, a link (not what it points to) or a directory with all it holds.

    What another process removes meanwhile is no error.
    """
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.is_dir():
        shutil.rmtree(path, onerror=_unless_gone)


def _unless_gone(_function: Any, _path: str, info: Any) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]
