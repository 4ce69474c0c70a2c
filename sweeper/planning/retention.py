"""Which checkpoints still have a reader, and dropping those that have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sweeper.planning import sweep
from sweeper.planning.race import record, state
from sweeper.store.store import Spec, Store

Stages = Mapping[str, Spec]


def planned(home: Path) -> dict[str, Spec]:
    """Every stage of every plan that was recorded in this home, by key.

    While a race is on, also the evaluations of all documents of the cells in it: their checkpoints
    are read again, by whichever look comes next.
    """
    found: dict[str, Spec] = {}
    for path in sorted((home / "sweeps").glob("*/plan-*.json")):
        found.update(sweep.read_plan(path)["stages"])
    for path in sorted((home / "sweeps").glob(f"*/{record.BEGUN}")):
        race = state.read(path.parent.parent)
        if race is not None and not race.over:
            found.update(_to_come(race))
    return found


def _to_come(race: state.State) -> dict[str, Spec]:
    base = race.begun["base"]
    specs = sweep.nested(base["stages"])
    own = (cell for cell in base["cells"] if cell["key"] in race.racing)
    keys = [key for cell in own for key in cell["stages"].get("evaluate", {}).values()]
    return {key: specs[key] for key in keys}


def readers(stages: Stages) -> dict[str, set[str]]:
    """Stage key -> keys of the stages that read its output."""
    found: dict[str, set[str]] = {}
    for key, spec in stages.items():
        for parent in spec["parents"].values():
            found.setdefault(parent["key"], set()).add(key)
    return found


_SHARED = ("convert", "rescale", "rotate", "prune")
"""Kinds of stage whose checkpoints many cells are made from."""


def is_kept(kind: str, policy: str) -> bool:
    """Whether a policy keeps checkpoints of this kind for good.

    ``keep`` keeps all; ``pruned`` keeps pruned ones, which many cells can be quantized
    from; a converted, rescaled or rotated model is kept by both, and dropped like the rest by
    ``drop``.
    """
    return policy == "keep" or (policy == "pruned" and kind in _SHARED)


class Dropper:
    """Drops a checkpoint when its last reader in any plan of the home is done.

    Called with every stage that was just committed.
    """

    def __init__(self, store: Store, home: Path, stages: Sequence[Spec], policy: str) -> None:
        self._store = store
        self._policy = policy
        self._stages: dict[str, Spec] = planned(home) | {str(s["key"]): s for s in stages}
        self._waiting = {
            key: {reader for reader in found if not store.is_done(self._stages[reader])}
            for key, found in readers(self._stages).items()
        }

    def __call__(self, spec: Spec) -> None:
        """A stage is done: what it alone was still to read can go."""
        for parent in {p["key"]: p for p in spec["parents"].values()}.values():
            waiting = self._waiting.get(parent["key"], set())
            waiting.discard(spec["key"])
            if not waiting and not is_kept(parent["kind"], self._policy):
                self._store.drop_bulk(parent)


def unread(store: Store, stages: Stages, policy: str) -> list[Spec]:
    """The stages whose checkpoints are on disk though the policy keeps them no longer."""
    found = readers(stages)
    return [
        spec
        for key, spec in stages.items()
        if key in found
        and not is_kept(spec["kind"], policy)
        and all(store.is_done(stages[reader]) for reader in found[key])
        and store.has_bulk(spec)
    ]
