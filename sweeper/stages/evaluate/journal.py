"""Answers written down batch by batch, so that a killed evaluation loses one batch at most."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """An append-only file, one batch a line, that counts only for what was asked.

    Python's JSON keeps NaN and infinity, which broken models answer.
    """

    def __init__(self, path: Path, identity: str) -> None:
        """What ``path`` holds is taken over if it was written under the same ``identity``."""
        self._path = path
        self._known = _read(path, identity)
        lines = [json.dumps(identity), *(json.dumps(p) for p in self._known.items())]
        partial = path.with_suffix(".partial")
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        os.replace(partial, path)  # without the half line that a killed process left

    def get(self, batch: int) -> Any | None:
        """What was answered to a batch, None if it was not asked yet."""
        return self._known.get(batch)

    def add(self, batch: int, answer: Any) -> None:
        """Keep an answer; with the kernel, and so safe from a kill, when this returns."""
        self._known[batch] = answer
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([batch, answer]) + "\n")


def _read(path: Path, identity: str) -> dict[int, Any]:
    """All whole lines; nothing if they answer something else."""
    try:
        first, *rest = path.read_text(encoding="utf-8", errors="replace").splitlines()
        if json.loads(first) != identity:
            return {}
    except (FileNotFoundError, ValueError):
        return {}
    known: dict[int, Any] = {}
    for line in rest:
        try:
            batch, answer = json.loads(line)
        except ValueError:  # cut short: what follows a lost power supply is not trusted
            break
        known[batch] = answer
    return known
