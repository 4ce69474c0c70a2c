"""What no race can be, refused before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from sweeper.errors import BadInput, several
from sweeper.inputs.tasks import pairing
from sweeper.inputs.tasks.catalog import Lookup
from sweeper.planning.cells.cell import Cell
from sweeper.planning.plan import Plan
from sweeper.planning.race import rivals
from sweeper.store.hashing import cache_directory

KEY = "tasks.race"


def check_axes(arguments: Iterable[str], blocks: Iterable[Mapping[str, Any]]) -> None:
    """Refuse a race that is an axis of the grid, or another one in a block of it.

    Args:
        arguments: the overrides of the sweep.
        blocks: its ``grids`` and ``cells``.

    Raises:
        BadInput: naming the key.
    """
    parsed = OverridesParser.create().parse_overrides(list(arguments))
    swept = [override for override in parsed if override.is_sweep_override()]
    axes = [(o.key_or_group, str(o.input_line).partition("=")[2]) for o in swept]
    axes += [(key, str(value)) for block in blocks for key, value in block.items()]
    for key, value in [axis for axis in axes if _is_race(axis[0])]:
        raise BadInput(
            key,
            value,
            "a sweep has one race, which is no axis of its grid.",
            "Run one sweep for each, with a name of its own: answers are shared.",
        )


def _is_race(key: str) -> bool:
    return key.split("@")[0] == "tasks/race" or f"{key}.".startswith(f"{KEY}.")


def check(plan: Plan, remaining: Plan) -> None:
    """Refuse a plan whose cells cannot race.

    Args:
        plan: the sweep's.
        remaining: the same without cells whose scores were imported.

    Raises:
        BadInput: nothing is scored, scores were imported, a model has no dense cell, no two
            cells are at one rate, or a task's score is no sum over documents.
    """
    if not any(cell.tasks for cell in plan.cells):
        raise BadInput(KEY, "on", "this sweep scores nothing: tasks.names is empty.")
    if len(remaining.cells) != len(plan.cells):
        brought = {cell.key for cell in plan.cells} - {cell.key for cell in remaining.cells}
        names = [cell.label for cell in plan.cells if cell.key in brought]
        raise BadInput(
            KEY,
            "on",
            f"the scores of {several(names)} were imported: such a cell was asked other documents.",
            "Leave out tasks/race, or race under another name.",
        )
    _check_cells([planned.cell for planned in plan.cells])
    _check_tasks(plan)


def _check_cells(cells: Sequence[Cell]) -> None:
    models = dict.fromkeys(str(cell.model["name"]) for cell in cells)
    dense = {str(cell.model["name"]) for cell in cells if cell.dense}
    if lacking := [model for model in models if model not in dense]:
        raise BadInput(
            KEY,
            "on",
            f"{several(lacking)} has no dense cell, whose answers a race divides by.",
            "Add the cell with sparsity 0 and 16 bit.",
        )
    rates: dict[tuple[str, Fraction], set[str]] = {}
    for cell in cells:
        if not cell.dense:
            rates.setdefault(rivals.rate(cell), set()).add(rivals.method(cell))
    if not any(len(methods) > 1 for methods in rates.values()):
        raise BadInput(
            KEY,
            "on",
            "no two cells of one model are at one compression rate (TCr), so there is nothing to "
            "decide.",
            "Add cells, or leave out tasks/race.",
        )


def _check_tasks(plan: Plan) -> None:
    stages = {name: stage for cell in plan.cells for name, stage in cell.tasks.items()}
    lookups: dict[str | None, Lookup] = {}  # each reads the index of tasks once
    for name, stage in stages.items():
        folder = stage.sources.get("tasks")
        if folder not in lookups:
            own = Path(folder) if folder else None
            lookups[folder] = Lookup(include_path=own, cache_dir=cache_directory())
        found = pairing.unpaired(name, lookups[folder])
        if found:
            raise BadInput(
                "tasks.names",
                name,
                f"its score ({found}) is no sum over documents, so cells cannot be paired by them.",
                "Leave it out, or leave out tasks/race.",
            )
