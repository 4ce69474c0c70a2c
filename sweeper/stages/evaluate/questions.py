"""What the documents of a task ask, in words: ``python -m sweeper.stages.evaluate.questions``.

Reads on stdin ``[{"task": name, "directory": folder or null}, ...]`` and the hashes of the wanted
documents as ``{"tasks": [...], "hashes": [...]}``; prints hash -> text, choices and right answer as
one JSON document. A process of its own, since lm-eval takes seconds to import. A document is found
by the hash that its answers were recorded with, so a data set that has changed gives no question.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from lm_eval.api.task import Task

from sweeper.stages.evaluate.records import document_hash
from sweeper.stages.evaluate.task import load_task

log = logging.getLogger(__name__)


def of(task: Task, hashes: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(hash, text, choices and right answer) of each wanted document of a task."""
    for doc in task.eval_docs:
        name = document_hash(doc)
        if name in hashes:
            yield name, _words(task, doc)


def _words(task: Task, doc: Any) -> dict[str, Any]:
    listed = task.get_config("doc_to_choice") is not None
    choices = [str(one) for one in task.doc_to_choice(doc)] if listed else []
    target = task.doc_to_target(doc)
    number = isinstance(target, int) and not isinstance(target, bool)
    right = choices[target] if number and 0 <= target < len(choices) else str(target)
    return {"text": str(task.doc_to_text(doc)), "choices": choices, "right": right}


def looked_up(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """All that can be found; a task that cannot be loaded here is passed over."""
    found: dict[str, Any] = {}
    hashes = frozenset(wanted["hashes"])
    for one in wanted["tasks"]:
        folder = Path(one["directory"]) if one["directory"] else None
        try:
            found |= of(load_task(one["task"], folder, Path()), hashes)
        except Exception as trouble:  # whatever a task's own code raises: a report does without it
            log.warning("%s: %s", one["task"], trouble)
    return found


def main() -> None:
    """Answer on standard output what standard input asks, both JSON; all else goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        answer = looked_up(json.load(sys.stdin))
    json.dump(answer, os.fdopen(1, "w", encoding="utf-8"))


if __name__ == "__main__":
    main()
