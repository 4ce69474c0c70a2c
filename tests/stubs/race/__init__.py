"""Stages whose documents are drawn, not asked: whole races in seconds.

How good a checkpoint is follows from what was done to it; each document is right or wrong by
a draw that cells share in part, so that differences are paired as real ones are. The environment
variable RACE_JOURNAL names a directory that notes each document that is asked, RACE_DOCUMENTS is
how many a task has, RACE_SECONDS how long an evaluation takes, and RACE_KILL names checkpoints
(pattern and bits, as "2:4/8") whose evaluations after the first look kill their process, once each.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from sweeper.stages import Job

SHARED = 0.7
"""The share of documents whose draw is the same for all cells."""
_LOST = {"unstructured": 0.02, "2:4": 0.20, 16: 0.0, 8: 0.03, 4: 0.12}


def made(job: Job) -> str:
    """What was done to the checkpoint that a job reads: "unstructured/8"; "/16" for the dense."""
    for directory in job.inputs.values():
        note = directory / "checkpoint" / "made.json"
        if note.exists():
            found: dict[str, Any] = json.loads(note.read_text())
            return f"{found['pattern']}/{found['bits']}"
    return "/16"


def make(job: Job, **changes: Any) -> None:
    """Write a checkpoint of the parent's making, changed."""
    pattern, bits = made(job).split("/")
    folder = job.out / "checkpoint"
    folder.mkdir()
    (folder / "made.json").write_text(json.dumps({"pattern": pattern, "bits": int(bits)} | changes))


def right(what: str, task: str, document: int) -> bool:
    """Whether a checkpoint answers a document well."""
    pattern, bits = what.split("/")
    quality = 0.9 - _LOST.get(pattern, 0.0) - _LOST[int(bits)]
    common = _draw(task, document, "common") < SHARED
    return _draw(task, document, "" if common else what) < quality


def _draw(*parts: object) -> float:
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    return int(digest[:12], 16) / 16**12


def documents() -> int:
    """How many each task has."""
    return int(os.environ.get("RACE_DOCUMENTS", "1000"))


def order(task: str) -> list[int]:
    """The seeded order of a task's documents."""
    return sorted(range(documents()), key=lambda document: _draw(task, document, "order"))


def note(folder: str | None, name: str) -> None:
    """Leave a trace of one document that was asked."""
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with (Path(folder) / f"{name.replace('/', '-')}.txt").open("a") as file:
            file.write("x")
