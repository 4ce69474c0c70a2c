"""Questions of the documents on which cells disagree: looked up once, then kept with the sweep."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from isorate.pinning import program, search_path
from sweeper.errors import BadInput
from sweeper.planning.sweep import Sweep
from sweeper.store import files, hashing

if TYPE_CHECKING:
    from analysis.data.questions import Question

FILE = "questions.json"
_PATIENCE_S = 300
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
log = logging.getLogger(__name__)


def known(sweep: Sweep, wanted: Mapping[str, str]) -> dict[str, Question]:
    """What documents ask, as far as the data of their tasks are on this machine.

    Args:
        sweep: as it was recorded; its tasks are looked at.
        wanted: hash of each document -> its task, or the group of tasks that it belongs to.

    Returns:
        Hash -> question, without those that cannot be found here. Nothing is fetched.
    """
    from analysis.data.questions import Question

    path = sweep.path / FILE
    kept: dict[str, Any] = files.read_json(path) if path.is_file() else {}
    lacking = {one: task for one, task in wanted.items() if one not in kept}
    if lacking and (found := _looked_up(sweep, lacking)):
        kept |= found
        with suppress(OSError):  # a home that may only be read: it is looked up again
            files.write_whole(path, dict(sorted(kept.items())))
    return {
        one: Question(
            text=kept[one]["text"], choices=tuple(kept[one]["choices"]), right=kept[one]["right"]
        )
        for one in wanted
        if one in kept
    }


def _looked_up(sweep: Sweep, wanted: Mapping[str, str]) -> dict[str, Any]:
    tasks = _tasks(sweep, frozenset(wanted.values()))
    if not tasks:
        return {}
    log.info("looking up %d questions on which cells disagree", len(wanted))
    try:
        done = subprocess.run(
            program("sweeper.stages.evaluate.questions"),
            input=json.dumps({"tasks": tasks, "hashes": list(wanted)}),
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
            env=os.environ | _OFFLINE | {"PYTHONPATH": search_path()},
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        log.warning("the report goes without the texts of questions: they could not be looked up")
        return {}
    return found


def _tasks(sweep: Sweep, named: frozenset[str]) -> list[dict[str, str | None]]:
    """The leaf tasks of a sweep that are named, or that a named group has, with their folder."""
    found: dict[str, str | None] = {}
    for cell in sweep.load()["cells"]:
        groups = cell["config"].get("groups") or {}
        leaves = {leaf for group in named & set(groups) for leaf in groups[group]} | named
        folder = _folder(cell["config"]["tasks"].get("path"))
        evaluations = cell.get("stages", {}).get("evaluate", {})
        found |= {task: folder for task in evaluations if task in leaves}
    return [{"task": task, "directory": folder} for task, folder in sorted(found.items())]


def _folder(path: str | None) -> str | None:
    """The folder of task files, where it is on this machine now."""
    with suppress(BadInput):
        return str(hashing.located(path, "tasks.path")) if path else None
    return None
