"""The kinds of stages of a real plan, without models: for whole sweeps through the command line.

The kinds that the environment variable STUB_FAIL names fail.
"""

from __future__ import annotations

import os

from sweeper.errors import StageFailure
from sweeper.stages import Job


def write(job: Job, kind: str) -> None:
    """Make a checkpoint that nobody could load."""
    if kind in os.environ.get("STUB_FAIL", "").split(","):
        raise StageFailure("layers.0: the Hessian cannot be inverted; raise dampening")
    os.write(1, f"{kind} at work\n".encode())
    (job.out / "checkpoint").mkdir()
    (job.out / "checkpoint" / "weights.bin").write_bytes(b"w" * 100)
