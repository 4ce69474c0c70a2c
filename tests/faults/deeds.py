"""What the store is made to do while things break, and what must hold whatever broke.

A deed is done to a home that may hold the remains of an earlier, disturbed try of the
same deed: doing it again must end in the same state as doing it once in peace.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sweeper.errors import StageFailure
from sweeper.planning.plan import Plan
from sweeper.planning.sweep import Sweep
from sweeper.store.store import Spec, Store
from sweeper.worker.runner import Bench, find_stage, run_stage
from tests.stubs.stages import spec

BENCH = Bench(find=partial(find_stage, package="tests.stubs.stages"))
PRUNE = spec(name="prune")
QUANTIZE = spec(name="quantize", parents={"model": PRUNE})
SCORE = spec("score", name="score", parents={"model": QUANTIZE})
LATER = spec("score", name="later", parents={"model": PRUNE})
PLAN = Plan(cells=(), stages={}, dropped=(), merged=())
FAULTY = spec(name="faulty", do="fail")
CHAIN = (PRUNE, QUANTIZE, SCORE)
STAGES = (PRUNE, QUANTIZE, SCORE, LATER, FAULTY)


@dataclass(frozen=True, kw_only=True)
class Deed:
    """Something done to a store.

    Attributes:
        name: for people.
        prepare: brings an empty home into the state before.
        act: what is disturbed.
    """

    name: str
    prepare: Callable[[Store], None]
    act: Callable[[Store], None]


def _nothing(_store: Store) -> None:
    """An empty home."""


def _chain(store: Store) -> None:
    store.check()
    run_stage(SCORE, store, BENCH)


def _drop(store: Store) -> None:
    for stage in (PRUNE, QUANTIZE):
        store.drop_bulk(stage)


def _dropped(store: Store) -> None:
    _chain(store)
    _drop(store)


def _later(store: Store) -> None:
    run_stage(LATER, store, BENCH)


def _damaged(store: Store) -> None:
    _chain(store)
    weights = store.path(PRUNE) / "checkpoint" / "weights.bin"
    content = bytearray(weights.read_bytes())
    content[7] ^= 1
    weights.write_bytes(content)


def _fail(store: Store) -> None:
    with suppress(StageFailure):
        run_stage(FAULTY, store, BENCH)


def _clear(store: Store) -> None:
    store.clear_failure(FAULTY)


def _corpses(store: Store) -> None:
    """What a dead attempt of an earlier boot left."""
    for name in ("a", "b"):
        corpse = store.tmp / f"{name}.{'x'}.1.{name}" / "checkpoint"
        corpse.mkdir(parents=True)
        (corpse / "half.bin").write_bytes(b"half")


def _gc(store: Store) -> None:
    store.gc(older_than_s=-1.0, damaged=True)


def _record(store: Store) -> None:
    Sweep(store.home, "sweep").record(PLAN, ["x=1"], "drop")


DEEDS = (
    Deed(name="a chain of stages", prepare=_nothing, act=_chain),
    Deed(name="dropping checkpoints", prepare=_chain, act=_drop),
    Deed(name="a later reader of a dropped checkpoint", prepare=_dropped, act=_later),
    Deed(name="a reader of a damaged checkpoint", prepare=_damaged, act=_later),
    Deed(name="a failing cell", prepare=_nothing, act=_fail),
    Deed(name="forgetting a failure", prepare=_fail, act=_clear),
    Deed(name="recording a plan", prepare=_nothing, act=_record),
    Deed(name="gc", prepare=_corpses, act=_gc),
)


def state(home: Path) -> dict[str, Any]:
    """All that a store answers: verified hashes of every output, results, failures."""
    store = Store(home)
    found: dict[str, Any] = {}
    for stage in STAGES:
        failure = store.failure(stage)
        if failure is not None:
            found[stage["key"]] = failure["message"]
        elif store.is_done(stage):
            store.verify(stage, full=True)
            found[stage["key"]] = store.has_bulk(stage), _hashes(store, stage)
    if Sweep(home, "sweep").planned:
        found["sweep"] = {k: v for k, v in Sweep(home, "sweep").load().items() if k != "created"}
    return found


def _hashes(store: Store, stage: Spec) -> dict[str, str]:
    manifest, result = store.manifest(stage), store.result(stage)
    assert manifest is not None
    assert result is not None
    # The result of a stub names the process that made it.
    own = {k: v["sha256"] for k, v in manifest["files"].items() if k != "result.json"}
    return own | {"result": str({k: v for k, v in result.items() if k != "pid"})}


def commits(home: Path) -> dict[str, str]:
    """Key of every sound committed stage -> the attempt that made it."""
    store = Store(home)
    found = {}
    for stage in STAGES:
        with suppress(Exception):
            store.verify(stage, full=True)
            found[stage["key"]] = store.manifest(stage)["attempt"]  # type: ignore[index]
    return found


def temporaries(home: Path) -> list[str]:
    """What lies in the home and is neither an output nor a whole record."""
    found = [p for d in ("tmp", "scratch") for p in (home / "store" / d).glob("*")]
    found += (home / "sweeps").glob("*/.*")
    return sorted(str(p.relative_to(home)) for p in found)


def fresh(home: Path, deed: Deed) -> Store:
    """An empty home, prepared."""
    shutil.rmtree(home, ignore_errors=True)
    store = Store(home)
    deed.prepare(store)
    return Store(home)
