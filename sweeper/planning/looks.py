"""A sweep that was evaluated again with other settings: which scores are the sweep's now.

Each evaluation of a checkpoint is one look at it. The settings of the newest plan that names a
task are the sweep's for that task; what was scored with others stays, as earlier looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweeper.planning.record import CellRecord, LoadedPlan, makers
from sweeper.store.spec import Spec

Settings = dict[str, Any]
Identity = tuple[Any, ...]
_SHARE = ("limit", "part")
"""What of an evaluation's settings says which documents it asks, not how."""


def newest(records: Sequence[LoadedPlan]) -> list[CellRecord]:
    """The cells of one sweep's plans, each checkpoint once.

    A checkpoint that several plans name is the cell of the newest of them. It has all tasks that
    any of them scores, each with the sweep's settings; ``earlier`` lists the looks that were left
    behind (cell key -> task -> evaluation), ``unscored`` the tasks that only those have, ``looks``
    how many of a task's documents had been asked at looks that differ in nothing else: a test that
    is made now is not the first one.

    Args:
        records: plans, oldest first.
    """
    settings = _settings(records)
    found: dict[Identity, list[CellRecord]] = {}
    looks: dict[Identity, list[CellRecord]] = {}
    for record in records:
        own: dict[Identity, list[CellRecord]] = {}
        for cell in record["cells"]:
            own.setdefault(_checkpoint(cell), []).append(cell)
        for identity, cells in own.items():
            looks.setdefault(identity, []).extend(cells)
            found[identity] = cells
    stages = {key: spec for record in records for key, spec in record["stages"].items()}
    return [
        _whole(cell, looks[identity] if len(cells) == 1 else [cell], stages, settings)
        for identity, cells in found.items()
        for cell in cells
    ]


def superseded(cells: Sequence[CellRecord]) -> set[str]:
    """Keys of the cells that these stand in for."""
    return {key for cell in cells for key in cell.get("earlier", ())} - {c["key"] for c in cells}


def _checkpoint(cell: CellRecord) -> Identity:
    made = sorted(makers(cell).items())
    # Reruns are evaluations of one checkpoint that are meant to stand side by side.
    return (cell["model"], cell["label"], cell.get("rerun", 0), tuple(made))


def _evaluations(cell: CellRecord) -> Iterator[tuple[Identity, str, str]]:
    """(which settings of a sweep concern it, task, key)."""
    for task, key in cell["stages"].get("evaluate", {}).items():
        yield (cell["model"], cell.get("rerun", 0), task), task, key


def _settings(records: Sequence[LoadedPlan]) -> dict[Identity, list[Settings]]:
    """The settings of each task, of the newest plan that names it (one plan may compare some)."""
    found: dict[Identity, list[Settings]] = {}
    for record in records:
        own: dict[Identity, list[Settings]] = {}
        for cell in record["cells"]:
            for concern, _, key in _evaluations(cell):
                if (said := _said(record["stages"][key])) not in own.setdefault(concern, []):
                    own[concern].append(said)
        found |= own
    return found


def _said(spec: Spec) -> Settings:
    return {name: value for name, value in spec["params"].items() if name != "model"}


def _whole(
    cell: CellRecord,
    looks: Sequence[CellRecord],
    stages: Mapping[str, Spec],
    settings: Mapping[Identity, list[Settings]],
) -> CellRecord:
    """The cell with every task's look that counts, the others beside it."""
    counting: dict[str, str] = {}
    earlier: dict[str, dict[str, str]] = {}
    for look in looks:
        for concern, task, key in _evaluations(look):
            if _said(stages[key]) in settings[concern]:
                counting[task] = key
    for look in looks:
        left = {task: key for _, task, key in _evaluations(look) if counting.get(task) != key}
        if left or look["key"] != cell["key"]:
            earlier[look["key"]] = left
    own: CellRecord = {**cell}
    if "evaluate" in cell["stages"] or counting:
        own["stages"] = {**cell["stages"], "evaluate": counting}
    if earlier:
        own["earlier"] = earlier
    if grown := _grown(looks, stages, counting):
        own["looks"] = grown
    if unscored := sorted({t for left in earlier.values() for t in left} - counting.keys()):
        own["unscored"] = unscored
    return own


def _grown(
    looks: Sequence[CellRecord], stages: Mapping[str, Spec], counting: Mapping[str, str]
) -> dict[str, list[int]]:
    """Task -> numbers of documents of the other looks, as far as they are among today's.

    Whoever saw more documents before than are asked now has looked at all of today's.
    """
    found: dict[str, set[int]] = {}
    for look in looks:
        for _, task, key in _evaluations(look):
            if task not in counting or key == counting[task]:
                continue
            then, now = stages[key]["params"], stages[counting[task]]["params"]
            limits = [one["limit"] for one in (then, now) if one["limit"] is not None]
            if limits and then["limit"] != now["limit"] and _manner(then) == _manner(now):
                found.setdefault(task, set()).add(min(limits))
    return {task: sorted(limits) for task, limits in found.items()}


def _manner(params: Mapping[str, Any]) -> Settings:
    return {name: value for name, value in params.items() if name not in _SHARE}
