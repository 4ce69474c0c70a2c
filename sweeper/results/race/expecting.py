"""What a race is expected to ask, and the least margin that all documents can show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from analysis.race.expected import Expected, expected_documents
from analysis.race.field import Contest, Field, Group
from analysis.race.schedule import Leaf
from analysis.race.settings import RaceSettings
from sweeper.inputs.tasks.catalog import Lookup
from sweeper.planning.plan import PART, Plan, PlannedCell
from sweeper.planning.race import rivals
from sweeper.planning.race.state import State
from sweeper.planning.stages.evaluation import DOCUMENTS
from sweeper.results.race import deciding
from sweeper.store.hashing import cache_directory
from sweeper.store.store import Store

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """A race before it is run, or the rest of one.

    Attributes:
        documents: of all cells.
        seconds: of evaluation with the race, and without.
        basis: what the expectation rests on.
        sized: whether the number of documents of every task is known.
    """

    documents: Expected
    seconds: tuple[float, float]
    basis: str
    sized: bool


def expected(
    plan: Plan,
    settings: RaceSettings,
    store: Store,
    now: State | None,
    seconds: Mapping[str, float],
) -> Expectation:
    """What a race of this plan is expected to take.

    Args:
        plan: without a race.
        settings: of the race.
        store: knows how many documents the dense cells have answered.
        now: the race as far as it is; None before it begins.
        seconds: stage key of the plan -> expected seconds.
    """
    field, sized = field_of(plan, store, now)
    known = deciding.decisions(now.looks) if now else []
    found = expected_documents(settings, field, known[-1] if known else None)
    totals = {m: sum(leaf.size for leaf in c.leaves) for m, c in field.contests.items()}
    with_race = without = 0.0
    for cell in plan.cells:
        total, model = sum(seconds[key] for key in _evaluations(cell)), str(cell.cell.model["name"])
        share = 1.0 if cell.cell.dense else found.cells.get(cell.key, 0.0) / totals[model]
        with_race, without = with_race + share * total, without + total
    return Expectation(
        documents=found,
        seconds=(with_race, without),
        basis=f"look {known[-1].look}" if known else f"assumed spread {settings.assumed_spread:g}",
        sized=sized,
    )


def _evaluations(cell: PlannedCell) -> Iterator[str]:
    """Keys of the stages that answer documents."""
    for stage in cell.tasks.values():
        parts = [p.key for role, p in stage.parents.items() if role.startswith(PART)]
        yield from parts or [stage.key]


def field_of(plan: Plan, store: Store, now: State | None) -> tuple[Field, bool]:
    """The field of a race, by its record or by the plan; and whether all sizes are known.

    Before the checkpoints are measured, groups are those of equal TCr alone.
    """
    if now is not None and now.looks:
        return deciding.field_from(now.looks[0]), True
    contests: dict[str, Contest] = {}
    sized = True
    for cell in plan.cells:
        model = str(cell.cell.model["name"])
        if cell.cell.dense and not cell.cell.rerun and model not in contests:
            contests[model], known = _contest(cell, model, store)
            sized = sized and known
    rates: dict[tuple[str, Fraction], list[PlannedCell]] = {}
    for cell in plan.cells:
        if not cell.cell.dense:
            rates.setdefault(rivals.rate(cell.cell), []).append(cell)
    groups = tuple(
        Group(
            name=f"{model} at {100 * float(rate):.6g} % TCr",
            model=model,
            cells=tuple(cell.key for cell in cells),
            methods=tuple(rivals.method(cell.cell) for cell in cells),
        )
        for (model, rate), cells in rates.items()
        if len({rivals.method(cell.cell) for cell in cells}) > 1
    )
    racing = {key for group in groups for key in group.cells}
    alone = {
        cell.key: model
        for (model, _), cells in rates.items()
        for cell in cells
        if cell.key not in racing
    }
    return Field(contests=contests, groups=groups, alone=alone), sized


def _contest(dense: PlannedCell, model: str, store: Store) -> tuple[Contest, bool]:
    home = {leaf: group for group, leaves in dense.groups.items() for leaf in leaves}
    sizes = {task: _size(task, stage, store) for task, stage in dense.tasks.items()}
    leaves = tuple(
        Leaf(name=task, task=home.get(task, task), size=size or DOCUMENTS)
        for task, size in sizes.items()
    )
    tasks = dict.fromkeys(leaf.task for leaf in leaves)
    contest = Contest(
        model=model,
        dense=dense.key,
        leaves=leaves,
        links=dict.fromkeys(tasks, "mean"),
        higher=dict.fromkeys(tasks, True),
        scores=dict.fromkeys(tasks, 0.5),
    )
    return contest, all(sizes.values())


def _size(task: str, stage: Any, store: Store) -> int | None:
    """Documents that the plan asks of a task; None where nobody knows how many it has."""
    result = store.result(stage.record()) or {}
    if result.get("n_docs"):
        return int(result["n_docs"])
    folder, limit = stage.sources.get("tasks"), stage.params["limit"]
    known = _lookup(folder).task(task).documents if folder else None
    return min((n for n in (known, limit) if n is not None), default=None)


@cache  # the index of a folder is read once, not for each of its tasks
def _lookup(folder: str) -> Lookup:
    return Lookup(include_path=Path(folder), cache_dir=cache_directory())


def document(found: Expectation, device: str, gpus: int) -> Json:
    """As JSON data; hours are GPU hours where there are GPUs."""
    documents = found.documents
    on_gpus = device == "cuda"
    with_race, without = (s * (gpus if on_gpus else 1) / 3600 for s in found.seconds)
    return {
        "documents": {
            "race": round(documents.race + documents.dense),
            "full": documents.full + documents.dense,
            "share": documents.share,
        },
        "hours": {"race": with_race, "full": without, "of": "GPU" if on_gpus else "core"},
        "basis": found.basis,
        "sizes_known": found.sized,
    }


def text(told: Json) -> str:
    """In one or two lines, as `isorate plan` shows it."""
    documents, hours = told["documents"], told["hours"]
    line = (
        f"Race:   about {documents['race']} of {documents['full']} documents "
        f"({100 * documents['share']:.0f} %), {hours['race']:.2g} of {hours['full']:.2g} "
        f"{hours['of']} hours of evaluation (by {told['basis']}); all other lines are without it"
    )
    if not told["sizes_known"]:
        line += (
            f"\n        some tasks are taken to have {DOCUMENTS} documents: nothing says how many"
        )
    return line
