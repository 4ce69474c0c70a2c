"""What a plan takes from the hub: its models, its calibration texts, its tasks; each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from sweeper.config.section import Frozen
from sweeper.inputs.tasks.catalog import Lookup
from sweeper.planning.plan import Plan, PlannedCell
from sweeper.store.hashing import cache_directory

Need = dict[str, Any]


def of(plan: Plan) -> list[Need]:
    """The needs in the order of the plan: plain JSON, for the process that fetches them.

    A need has a ``kind``: "model" and "text" also have what the configuration says of them
    (``id``, ``revision`` and so on), a "task" its ``name``, the ``folder`` of its file or
    None, the ``model`` that asks for it (a directory, or a hub id) and the ``data`` that
    its file names (see `tasks.HubData`) or None.
    """
    found: dict[tuple[Any, ...], Need] = {}
    for cell in plan.cells:
        for need in _of_cell(cell):
            if need["kind"] == "task":
                found.setdefault(("task", need["name"], need["folder"]), need)
            else:
                found.setdefault(tuple(map(str, need.items())), need)
    lookup = cache(_lookup)
    return [_with_data(need, lookup) for need in found.values()]


def _lookup(folder: str | None) -> Lookup:
    return Lookup(include_path=Path(folder) if folder else None, cache_dir=cache_directory())


def _with_data(need: Need, lookup: Callable[[str | None], Lookup]) -> Need:
    if need["kind"] != "task":
        return need
    reads = lookup(need["folder"]).data(need["name"])
    return need | {"data": asdict(reads) if reads else None}


def _of_cell(planned: PlannedCell) -> Iterator[Need]:
    section, text = planned.cell.model, planned.cell.calibration
    local = Path(section["id"]).expanduser()
    if section["format"] == "hf" and not local.exists():
        yield model(section["id"], section["revision"], section["trust_remote_code"])
    if text is not None and text["path"] is None and text["dataset"] is not None:
        yield _text(text)
    for stage in planned.tasks.values():
        yield {
            "kind": "task",
            "name": stage.params["task"],
            "folder": stage.sources.get("tasks"),
            "model": str(local.absolute()) if local.exists() else section["id"],
        }


def model(name: str, revision: str, trust_remote_code: bool) -> Need:
    """The need for a model of the hub."""
    return {"kind": "model", "id": name, "revision": revision, "trust": trust_remote_code}


def _text(section: Frozen) -> Need:
    names = ("subset", "data_files", "revision", "split", "field")
    return {"kind": "text", "id": section["dataset"], **{name: section[name] for name in names}}
