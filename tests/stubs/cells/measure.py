"""Nothing is measured."""

from __future__ import annotations

from typing import Any

from sweeper.stages import Job


def run(job: Job) -> dict[str, Any]:
    return {"bytes": {"checkpoint": 100}}
