"""The obvious program: a Hydra job for each cell, which makes it from nothing and scores it.

The same stages as ours, from the same plan; but every job has a store of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class Job:
    """Which cell of which plan, and where its store is."""

    plan: str = MISSING
    home: str = MISSING
    cell: int = MISSING


ConfigStore.instance().store(name="job", node=Job)


@hydra.main(version_base="1.3", config_path=None, config_name="job")
def app(job: Any) -> int:
    """Make and score one cell."""
    from sweeper.planning.sweep import read_plan
    from sweeper.store.store import Store
    from sweeper.worker.runner import run_stage

    plan = read_plan(Path(job.plan))
    store = Store(Path(job.home) / str(job.cell))
    for key in keys(plan["cells"][job.cell]["stages"]):
        run_stage(plan["stages"][key], store)
    return int(job.cell)


def keys(stages: Any) -> Iterator[str]:
    """Keys of a cell's stages; its evaluations are one level below."""
    for value in stages.values():
        if isinstance(value, str):
            yield value
        else:
            yield from value.values()


if __name__ == "__main__":
    app()
