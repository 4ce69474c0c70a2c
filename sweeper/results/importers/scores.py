"""Scores that someone already paid for, as cells of a sweep.

<home>/sweeps/<name>/imported/<cell>.json            the cell, its scores, how they were made
<home>/sweeps/<name>/imported/<cell>/<task>.parquet  scores of single documents

They are kept apart from the store: what is in there was computed by the stage it is filed
under, and of an import only the scores are known. A cell whose tasks were all imported is not
run; it is again once its files are removed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sweeper.errors import BadInput, one_of, several
from sweeper.planning.plan import Plan, PlannedCell
from sweeper.planning.sweep import Sweep, cell_json
from sweeper.results.outcomes import CellOutcome, StageOutcome
from sweeper.store import files

if TYPE_CHECKING:
    import pandas as pd

Json = dict[str, Any]
FOLDER = "imported"
_PLANNED = ("num_fewshot", "apply_chat_template", "backend", "dtype", "max_gen_toks")
ALL = "all documents"


class Scored(Protocol):
    """Scores of one checkpoint as somebody else's program left them."""

    @property
    def source(self) -> str:
        """Where they are: a file, or a run."""
        ...

    @property
    def tasks(self) -> list[str]:
        """The leaf tasks that were scored."""
        ...

    def conditions(self, task: str) -> Json:
        """How: "version" and keys of the `tasks` section; what is not known is left out."""
        ...

    def scores(self, task: str) -> Json:
        """As the result of an `evaluate` stage."""
        ...

    def documents(self, task: str) -> pd.DataFrame | None:
        """A row per document: "doc_id" and more of its identity, a column per metric."""
        ...


def named(cells: Sequence[PlannedCell], label: str | None) -> PlannedCell:
    """The one cell of a plan that ``label`` names; a plan of one cell needs none.

    Raises:
        BadInput: it is none of them, or one of several models.
    """
    found = [one for one in cells if label in (None, one.label)]
    if len(found) == 1:
        return found[0]
    labels = list(dict.fromkeys(one.label for one in cells))
    if found and label is not None:
        raise BadInput("cell", label, "several models have it; name one: model=...")
    raise BadInput(
        "cell",
        label,
        f"which cell was scored? {one_of(labels)}.",
        "More cells: the arguments of the grid that has them.",
    )


def add(sweep: Sweep, planned: PlannedCell, output: Scored) -> Json:
    """Record the scores of one cell; the same cell again replaces it.

    Args:
        sweep: whose cell it is.
        planned: the cell that the checkpoint was, and the tasks it is to be scored on.
        output: the scores.

    Returns:
        The record: "tasks" that fit, "lacking" ones, "ignored" ones that were not planned.

    Raises:
        BadInput: no task fits, or something was done otherwise than this sweep does it or
            than what it imported before: the message names the field.
    """
    fitting = [task for task in planned.tasks if task in output.tasks]
    if not fitting:
        raise BadInput(
            "path",
            output.source,
            f"it has scores of {several(output.tasks, 6)}; this sweep is about "
            f"{several(list(planned.tasks), 6)}.",
        )
    conditions = {task: output.conditions(task) for task in fitting}
    others = [one for one in records(sweep) if one["cell"]["key"] != planned.key]
    _refuse(output, conditions, planned, others)
    record = {
        "cell": cell_json(planned) | {"key": planned.key},
        "source": output.source,
        "conditions": conditions,
        "scores": {
            task: output.scores(task) | {"asked": _asked(c)} for task, c in conditions.items()
        },
        "not_stated": [n for n in _PLANNED[:4] if any(n not in c for c in conditions.values())],
        "lacking": [task for task in planned.tasks if task not in fitting],
        "ignored": [task for task in output.tasks if task not in planned.tasks],
    }
    _write(sweep, planned.key, record, output)
    return record


def records(sweep: Sweep) -> list[Json]:
    """What was imported into a sweep."""
    return [files.read_json(path) for path in sorted((sweep.path / FOLDER).glob("*.json"))]


def outcomes(sweep: Sweep) -> list[CellOutcome]:
    """The imported cells as those of a plan are told."""
    return [_outcome(sweep, record) for record in records(sweep)]


def remaining(plan: Plan, sweep: Sweep) -> Plan:
    """The plan without the cells whose scores were all imported: what still has to be run."""
    brought = {one["cell"]["key"] for one in records(sweep) if not one["lacking"]}
    # Of 10,000 cells, the keys alone take a tenth of a second.
    cells = tuple(c for c in plan.cells if c.key not in brought) if brought else plan.cells
    if len(cells) == len(plan.cells):
        return plan
    needed = set().union(*(cell.lineage for cell in cells))
    stages = {key: stage for key, stage in plan.stages.items() if key in needed}
    return replace(plan, cells=cells, stages=stages)


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The fields in which two conditions contradict each other, with both values.

    What `wanted` leaves open (None) or `found` does not state fits.
    """
    return [
        f"{name}: {found[name]!r}, here {wanted[name]!r}"
        for name in wanted
        if name in found and wanted[name] is not None and found[name] != wanted[name]
    ]


def _refuse(
    output: Scored, conditions: Mapping[str, Json], planned: PlannedCell, others: Sequence[Json]
) -> None:
    for task, found in conditions.items():
        params = planned.tasks[task].params
        wrong = differences(found, {name: params[name] for name in _PLANNED})
        if output.documents(task) is None and (lacking := _shares(found, params["limit"])):
            wrong.append(lacking)
        where = "this sweep's configuration"
        for other in others:
            if not wrong and task in other["conditions"]:
                wrong = differences(found, other["conditions"][task] | {"limit": None})
                where = f"what was imported for {other['cell']['label']}"
        if wrong:
            raise BadInput(
                "path",
                output.source,
                f"{task} was scored otherwise than {where}: {'; '.join(wrong)}.",
                "Scores made in two ways are never divided by each other.",
            )


def _shares(found: Mapping[str, Any], limit: int | None) -> str:
    """Why scores without hashes of documents may be of others than this sweep's; "" if not."""
    if "limit" not in found:
        return "limit: not stated, and there are no hashes to tell which documents were asked"
    if found["limit"] is None and limit is None:
        return ""
    return (
        f"limit: {found['limit']!r}, here {limit!r}, and there are no hashes to tell which "
        "documents these are (without them all have to be asked on both sides)"
    )


def _asked(conditions: Mapping[str, Any]) -> str:
    if "limit" not in conditions:
        return ""
    limit = conditions["limit"]
    return ALL if limit is None else f"the first {limit} of the data set"


def _write(sweep: Sweep, key: str, record: Json, output: Scored) -> None:
    folder = sweep.path / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    files.remove(folder / key)
    for task in record["scores"]:
        documents = output.documents(task)
        if documents is not None:
            (folder / key).mkdir(exist_ok=True)
            documents.to_parquet(folder / key / f"{task}.parquet", index=False)
    partial = folder / f".{key}.json.tmp"
    files.write_json(partial, record)
    partial.replace(folder / f"{key}.json")


def _outcome(sweep: Sweep, record: Json) -> CellOutcome:
    key, lacking = record["cell"]["key"], record["lacking"]
    stages = tuple(
        StageOutcome(
            kind="evaluate",
            key="",
            task=task,
            result=result,
            documents=_documents(sweep.path / FOLDER / key / f"{task}.parquet"),
        )
        for task, result in sorted(record["scores"].items())
    )
    origin = f"imported from {record['source']}"
    return CellOutcome(
        cell=record["cell"] | {"origin": origin},
        status="missing" if lacking else "done",
        reason=f"not imported: {', '.join(lacking)}" if lacking else origin,
        stages=stages,
    )


def _documents(path: Path) -> Path | None:
    return path if path.is_file() else None
