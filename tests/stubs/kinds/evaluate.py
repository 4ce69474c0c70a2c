"""Stands in for `sweeper.stages.evaluate.stage`."""

from __future__ import annotations

import time
from typing import Any

from sweeper.stages import Job
from tests.stubs import kinds


def run(job: Job) -> dict[str, Any]:
    """A score that follows from the checkpoint and the task."""
    value = 0.3 + 0.6 * kinds.fraction(job)
    time.sleep(kinds.SLOW_S)
    entry = {"value": value, "stderr": 0.02, "n": 200, "higher_is_better": True}
    return {
        "task": job.params["task"],
        "version": 1,
        "primary": "acc",
        "metrics": {"acc": entry},
        "chance": 0.25,
        "collapsed": False,
        "device": "cpu",
    }
