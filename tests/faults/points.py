"""Every call to the file system, counted; at the n-th something happens: death or an error.

`Calls` stands in front of the functions of `os` and of `open`, through which pathlib,
shutil and our own code reach the disk, for as long as it is entered. A write is two
points: before it, and with half of it written.
"""

from __future__ import annotations

import builtins
import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CHANGES = (
    "mkdir",
    "rename",
    "replace",
    "rmdir",
    "unlink",
    "remove",
    "link",
    "symlink",
    "chmod",
    "utime",
    "fsync",
)
READS = ("listdir", "scandir", "stat", "lstat", "statvfs")

Act = Callable[[str], None]
"""Told the name of the call it replaces; returns to let the call happen."""


def kill(_call: str) -> None:
    """As SIGKILL, the out-of-memory killer or a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def error(number: int) -> Act:
    """An errno, as from a full, read-only or failing disk."""

    def act(call: str) -> None:
        raise OSError(number, os.strerror(number), call)

    return act


class Calls:
    """Counts calls, and acts at the n-th (from 1); with ``on`` at every one from there.

    Attributes:
        seen: the names of the calls so far.
    """

    def __init__(
        self, act: Act, at: int | None = None, *, on: bool = False, reads: bool = True
    ) -> None:
        self._act, self._at, self._on = act, at, on
        self._names = (*CHANGES, *READS) if reads else CHANGES
        self._reads = reads
        self.seen: list[str] = []

    def reach(self, name: str) -> None:
        """One call is about to happen."""
        self.seen.append(name)
        n, at = len(self.seen), self._at
        if at is not None and (n == at or (self._on and n > at)):
            self._act(name)

    @contextmanager
    def in_force(self) -> Iterator[Calls]:
        """Stand in front of the calls."""
        genuine = {name: getattr(os, name) for name in self._names}
        opened, low = io.open, os.open
        for name, function in genuine.items():
            setattr(os, name, self._counted(name, function))
        io.open = builtins.open = self._open(opened)  # type: ignore[assignment]
        os.open = self._low(low)
        try:
            yield self
        finally:
            for name, function in genuine.items():
                setattr(os, name, function)
            io.open = builtins.open = opened
            os.open = low

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.reach(name)
            return function(*args, **kwargs)

        return counted

    def _low(self, function: Callable[..., int]) -> Callable[..., int]:
        def counted(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes or self._reads:
                self.reach("open to write" if writes else "open to read")
            return function(path, flags, *args, **kwargs)

        return counted

    def _open(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            writes = bool(set(mode) & set("wxa+"))
            if writes or self._reads:
                self.reach("open to write" if writes else "open to read")
            found = function(file, mode, *args, **kwargs)
            return Written(found, self) if writes else found

        return counted


class Written:
    """An open file whose writes are points: before, and half done."""

    def __init__(self, file: Any, calls: Calls) -> None:
        self._file, self._calls = file, calls

    def write(self, data: Any) -> int:
        self._calls.reach("write")
        half = len(data) // 2
        self._file.write(data[:half])
        self._file.flush()
        self._calls.reach("write the rest")
        self._file.write(data[half:])
        return len(data)

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
