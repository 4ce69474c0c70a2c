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
from typing import Any

from sweeper import files
from sweeper.collect import CellOutcome, StageOutcome
from sweeper.errors import BadInput
from sweeper.lm_eval_output import Output, differences
from sweeper.plan import Plan, PlannedCell
from sweeper.sweep import Sweep, cell_json

Json = dict[str, Any]
FOLDER = "imported"
_PLANNED = ("num_fewshot", "apply_chat_template", "backend", "dtype", "limit", "max_gen_toks")


def add(sweep: Sweep, planned: PlannedCell, output: Output) -> Json:
    """Record the scores of one cell; the same cell again replaces it.

    Args:
        sweep: whose cell it is.
        planned: the cell that the checkpoint was, and the tasks it is to be scored on.
        output: what lm-eval wrote.

    Returns:
        The record: "tasks" that fit, "lacking" ones, "ignored" ones that were not planned.

    Raises:
        BadInput: no task fits, or something was done otherwise than this sweep does it or
            than what it imported before: the message names the field.
    """
    fitting = [task for task in planned.tasks if task in output.tasks]
    if not fitting:
        raise BadInput("path", str(output.path),
                       f"it has scores of {_few(output.tasks)}; this sweep is about "
                       f"{_few(list(planned.tasks))}.")  # fmt: skip
    conditions = {task: output.conditions(task) for task in fitting}
    others = [one for one in records(sweep) if one["cell"]["key"] != planned.key]
    _refuse(output, conditions, planned, others)
    record = {
        "cell": cell_json(planned) | {"key": planned.key},
        "source": str(output.path.absolute()),
        "conditions": conditions,
        "scores": {task: output.scores(task) for task in fitting},
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
    if not brought:
        return plan
    cells = tuple(cell for cell in plan.cells if cell.key not in brought)
    if len(cells) == len(plan.cells):
        return plan
    needed = set().union(*(cell.lineage for cell in cells))
    stages = {key: stage for key, stage in plan.stages.items() if key in needed}
    return replace(plan, cells=cells, stages=stages)


def joined(planned: Sequence[CellOutcome], imported: Sequence[CellOutcome]) -> list[CellOutcome]:
    """The cells of a plan; an imported one stands in for a planned one that is not done."""
    brought = {outcome.key: outcome for outcome in imported}
    kept = [
        o if o.status == "done" or o.key not in brought else brought.pop(o.key) for o in planned
    ]
    known = {outcome.key for outcome in kept}
    return kept + [outcome for key, outcome in brought.items() if key not in known]


def _refuse(
    output: Output, conditions: Mapping[str, Json], planned: PlannedCell, others: Sequence[Json]
) -> None:
    for task, found in conditions.items():
        params = planned.tasks[task].params
        wrong = differences(found, {name: params[name] for name in _PLANNED})
        if output.content["config"].get("limit") is not None and params["limit"] is None:
            wrong.append(f"limit: {found['limit']!r}, here None (all documents)")
        where = "this sweep's configuration"
        for other in others:
            if not wrong and task in other["conditions"]:
                wrong = differences(found, other["conditions"][task])
                where = f"what was imported for {other['cell']['label']}"
        if wrong:
            raise BadInput(
                "path", str(output.path),
                f"{task} was scored otherwise than {where}: {'; '.join(wrong)}.",
                "Scores made in two ways are never divided by each other.",
            )  # fmt: skip


def _write(sweep: Sweep, key: str, record: Json, output: Output) -> None:
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
        StageOutcome(kind="evaluate", key="", task=task, result=result, manifest={},
                     documents=_documents(sweep.path / FOLDER / key / f"{task}.parquet"))
        for task, result in sorted(record["scores"].items())
    )  # fmt: skip
    return CellOutcome(
        cell=record["cell"],
        status="missing" if lacking else "done",
        reason=f"not imported: {', '.join(lacking)}"
        if lacking
        else f"imported from {record['source']}",
        stages=stages,
    )


def _documents(path: Path) -> Path | None:
    return path if path.is_file() else None


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more
