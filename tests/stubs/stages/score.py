"""Reads a checkpoint and writes records only."""

from __future__ import annotations

import time
from typing import Any

from sweeper.stages import Job
from tests.stubs.stages import count


def run(job: Job) -> dict[str, Any]:
    count(job.params.get("journal"), str(job.params.get("name", "score")))
    total = sum(len((d / "checkpoint" / "weights.bin").read_bytes()) for d in job.inputs.values())
    time.sleep(job.params.get("sleep", 0.0))
    (job.out / "documents.txt").write_text(str(total))
    return {"score": total}
