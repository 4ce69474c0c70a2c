"""Writes a small checkpoint; can be told to misbehave."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from sweeper.errors import StageFailure
from sweeper.stages import Job
from tests.stubs.stages import count


def run(job: Job) -> dict[str, Any]:
    p = job.params
    count(p.get("journal"), str(p.get("name", "make")))
    _meet(p)
    job.progress(0.5, "half")
    bulk = job.out / "checkpoint"
    bulk.mkdir()
    inputs = sorted((d / "checkpoint" / "weights.bin").read_bytes() for d in job.inputs.values())
    seed = str(p.get("name", "")).encode() + b"".join(inputs)
    if p.get("unsteady"):
        seed += os.urandom(4)
    (bulk / "weights.bin").write_bytes(seed * 50)
    (job.out / "records.txt").write_text("one\ntwo\n")
    time.sleep(p.get("sleep", 0.0))
    _misbehave(p, job)
    return {"name": p.get("name"), "bytes": len(seed) * 50, "pid": os.getpid()}


def _meet(p: Any) -> None:
    """Wait until ``meet`` executions have begun, so that they surely overlap."""
    patience = time.monotonic() + p.get("patience", 60)
    while "meet" in p and p["meet"] > len(list(Path(p["journal"]).iterdir())):
        assert time.monotonic() < patience, "the others did not come"
        time.sleep(0.01)


def _misbehave(p: Any, job: Job) -> None:
    once = p.get("once")
    if once:
        if Path(once).exists():
            return
        Path(once).touch()
    match p.get("do"):
        case "fail":
            raise StageFailure("layers.0: the Hessian cannot be inverted; raise dampening")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "full":
            with open("/dev/full", "wb") as disk:
                disk.write(b"0" * 100_000)
        case "memory":
            raise MemoryError
        case "bug":
            raise KeyError("no such thing")
        case "disk":
            raise OSError(errno.EIO, "the disk has gone")
        case "print":
            print("library noise on stdout")
        case "scratch":
            (job.scratch / "block.json").write_text("{}")
        case "stdin":
            if sys.stdin.read():
                raise StageFailure("a stage got the requests of its worker")
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)
        case None:
            pass
        case other:
            raise AssertionError(other)
