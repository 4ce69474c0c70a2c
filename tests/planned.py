"""Plans of a model in a directory, for tests of what planning takes and refuses."""

from __future__ import annotations

from pathlib import Path

from sweeper.planning import builder as planning
from sweeper.planning.plan import Plan
from sweeper.store import hashing
from tests import tiny
from tests.composing import composed


def plan_of(model: Path, *words: str) -> Plan:
    """The plan of a model; its calibration text lies beside its directory."""
    hashing.file_digest.cache_clear()  # of each file once in a process, which tests change
    text = model.parent / "text.txt"
    if not text.exists():
        tiny.text(text)
    own = [
        "model=custom",
        f"model.id={model}",
        "model.group_size=32",
        "tasks=none",
        f"calibration.path={text}",
        "calibration.samples=4",
        "calibration.length=32",
    ]
    with composed([]) as (config, loader):
        return planning.plan(config, loader, [*own, *words])
