"""A checkpoint that was dropped, for one reading: built again, and let go of as it was before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sweeper.errors import DamagedOutput
from sweeper.planning import retention
from sweeper.store.store import Spec, Store
from sweeper.worker.runner import Bench, run_stage


@dataclass(frozen=True)
class Missing:
    """Stages to carry out before a checkpoint can be read.

    Attributes:
        stages: parents first; empty when it is there.
        seconds: that they took when they were last carried out; None if one never was.
    """

    stages: tuple[Spec, ...]
    seconds: float | None


def missing(spec: Spec, store: Store) -> Missing:
    """What has to be built before the checkpoint of a stage is there."""
    found: dict[str, Spec] = {}
    _collect(spec, store, found)
    took = [_seconds(one, store) for one in found.values()]
    known = [seconds for seconds in took if seconds is not None]
    return Missing(tuple(found.values()), sum(known) if len(known) == len(took) else None)


def _seconds(spec: Spec, store: Store) -> float | None:
    try:
        found = store.manifest(spec)
    except DamagedOutput:
        return None
    return float(found["seconds"]) if found else None


def _here(spec: Spec, store: Store) -> bool:
    try:
        return store.has_bulk(spec)
    except DamagedOutput:  # whoever reads it will build it again
        return False


def _collect(spec: Spec, store: Store, found: dict[str, Spec]) -> None:
    if spec["key"] in found or _here(spec, store):
        return
    for parent in spec["parents"].values():
        _collect(parent, store, found)
    found[str(spec["key"])] = spec


@contextmanager
def at_hand(spec: Spec, store: Store, *, keep: str, bench: Bench | None = None) -> Iterator[Path]:
    """The output of a stage with its checkpoint, for as long as the block lasts.

    What had to be built for it is dropped afterwards, however the block ends, unless the policy
    keeps it or another stage of the home has still to read it.

    Args:
        spec: the stage.
        store: where it is, or will be.
        keep: the sweep's checkpoint policy: keep, pruned or drop.
        bench: what stages are carried out with.

    Raises:
        As `run_stage`.
    """
    built = missing(spec, store).stages
    try:
        run_stage(spec, store, bench, bulk=True)
        yield store.path(spec)
    finally:
        waited_for = _waited_for(store)
        for one in built:
            if not retention.is_kept(one["kind"], keep) and one["key"] not in waited_for:
                store.drop_bulk(one)


def _waited_for(store: Store) -> set[str]:
    """Keys of the stages that a stage which is not done, of any plan of the home, reads."""
    stages = retention.planned(store.home)
    return {
        key
        for key, readers in retention.readers(stages).items()
        if not all(store.is_done(stages[reader]) for reader in readers)
    }
