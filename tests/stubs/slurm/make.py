"""Writes a small checkpoint; ``hog_mb`` holds memory for some seconds, ``env`` tells variables."""

from __future__ import annotations

import os
import time
from typing import Any

from sweeper.stages import Job
from tests.stubs.stages import make


def run(job: Job) -> dict[str, Any]:
    if megabytes := job.params.get("hog_mb"):
        held = bytearray(megabytes * 2**20)
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(4)
    result = make.run(job)
    return result | {"env": {name: os.environ.get(name) for name in job.params.get("env", ())}}
