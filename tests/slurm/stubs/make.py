"""Writes a small checkpoint; with ``hog_mb`` it holds that much memory for some seconds."""

from __future__ import annotations

import time
from typing import Any

from sweeper.stages import Job
from tests.stubstages import make


def run(job: Job) -> dict[str, Any]:
    if megabytes := job.params.get("hog_mb"):
        held = bytearray(megabytes * 2**20)
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(4)
    return make.run(job)
