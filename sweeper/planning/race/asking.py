"""A plan in which every cell is asked so many documents of each task: one look of a race.

Made from a recorded plan alone, so that a job on a cluster makes it as the command line does. An
evaluation with another limit is of the same family, so it takes over the answers that are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import cast

from sweeper.errors import IsorateError
from sweeper.planning.plan import PART, Params, Stage
from sweeper.planning.race.record import Limits, Sizes
from sweeper.planning.record import CellRecord, CellStages, PlanBody, makers
from sweeper.planning.stages.evaluation import DOCUMENTS, answered_by
from sweeper.store.hashing import key_of
from sweeper.store.spec import StageRecord

EVALUATE = "evaluate"


def asked(base: PlanBody, limits: Limits, before: Limits, sizes: Sizes) -> PlanBody:
    """The plan of one look: all that makes the cells, and the evaluations that were asked for.

    Args:
        base: the plan of the sweep without a race, as `sweeper.planning.sweep.plan_json` has it.
        limits: what each cell is asked; a cell or task that is not named is not scored.
        before: what was asked at the look before.
        sizes: how many documents the plan without a race asks; only estimates of work rest on
            this and on ``before``.

    Raises:
        IsorateError: the plan was made by another version, whose stages have other keys.
    """
    stages = restored(base["stages"])
    cells: list[CellRecord] = []
    own: dict[str, Stage] = {}
    for cell in base["cells"]:
        named = makers(cell)
        mine = limits.get(cell["key"], {})
        was, of = before.get(cell["key"], {}), sizes.get(cell["model"], {})
        tasks = {
            task: with_limit(
                stages[key], mine[task], _share(mine[task], was.get(task, 0), of.get(task))
            )
            for task, key in cell["stages"].get("evaluate", {}).items()
            if task in mine
        }
        cells.append(_cell(cell, named, tasks))
        for stage in [*(stages[key] for key in named.values()), *tasks.values()]:
            own |= _lineage(stage)
    return {"cells": cells, "stages": {key: stage.record() for key, stage in own.items()}}


def restored(records: Mapping[str, StageRecord]) -> dict[str, Stage]:
    """Stages from their records, parents inside.

    Raises:
        IsorateError: a key is not what this version makes of its stage.
    """
    found: dict[str, Stage] = {}

    def stage(key: str) -> Stage:
        if key not in found:
            record = records[key]
            made = Stage(
                kind=record["kind"],
                params=Params(record["params"]),
                parents={role: stage(parent) for role, parent in record["parents"].items()},
                library=record["library"],
                sources=record["sources"],
                label=record["label"],
                work=record["work"],
                bulk_bytes=record["bulk_bytes"],
                answers=answered_by(record["params"]) if record["kind"] == EVALUATE else None,
                kernels=record.get("kernels", ""),
            )
            if made.key != key:
                raise IsorateError(
                    f"this race was begun by another version of Isorate: its stage {key} "
                    f"({record['kind']} of {record['label']}) is another one now. Go on with that "
                    "version, or run it anew under another name; no answer is asked twice where "
                    "stages stayed the same."
                )
            found[key] = made
        return found[key]

    for key in records:
        stage(key)
    return found


def with_limit(stage: Stage, limit: int | None, share: float) -> Stage:
    """An evaluation of the first ``limit`` documents, with as many parts as they fill.

    Args:
        stage: the evaluation, its parts among its parents.
        limit: None for as many as the stage asks anyway.
        share: of its work that is left.
    """
    if limit is None:
        return stage
    parts = {role: p for role, p in stage.parents.items() if role.startswith(PART)}
    rest = {role: p for role, p in stage.parents.items() if not role.startswith(PART)}
    work = share * (stage.work + sum(p.work for p in parts.values()))
    params = Params({**stage.params, "limit": limit})
    count = min(len(parts), ceil(limit / stage.params["block"]))
    if count < 2:
        return replace(stage, params=params, parents=rest, work=work)
    divided = {
        f"{PART}{n}": replace(
            parts[f"{PART}{n}"],
            params=Params({**params, "part": [n, count]}),
            work=work / count,
        )
        for n in range(count)
    }
    return replace(stage, params=params, parents={**rest, **divided}, work=0.0)


def _share(limit: int | None, before: int | None, documents: int | None) -> float:
    """The share of a task's documents that are asked anew."""
    if limit is None or before is None:
        return 1.0
    return min(1.0, max(0.0, (limit - before) / (documents or DOCUMENTS)))


def _cell(cell: CellRecord, named: Mapping[str, str], tasks: Mapping[str, Stage]) -> CellRecord:
    """The cell with these evaluations; what it was in an older format is no matter here."""
    asked_of = dict(cell["config"]["tasks"])
    asked_of["limits"] = {
        **(asked_of.get("limits") or {}),
        **{task: s.params["limit"] for task, s in tasks.items() if s.params["limit"]},
    }
    look: CellRecord = {
        **cell,
        "raced": cell["key"],
        "key": key_of({**named, **{f"task:{name}": stage.key for name, stage in tasks.items()}}),
        "config": {**cell["config"], "tasks": asked_of},
        "stages": cast(
            CellStages, {**named, EVALUATE: {name: stage.key for name, stage in tasks.items()}}
        ),
    }
    look.pop("former", None)
    return look


def _lineage(stage: Stage) -> dict[str, Stage]:
    """A stage and all it rests on by key, parents first."""
    found: dict[str, Stage] = {}
    for parent in stage.parents.values():
        found |= _lineage(parent)
    return {**found, stage.key: stage}
