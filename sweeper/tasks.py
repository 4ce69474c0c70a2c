"""What a task name means: the leaf tasks behind it, each with the hash that identifies it.

For the front end: imports neither lm-eval nor torch, and answers in milliseconds once
lm-eval's own names are cached.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sweeper import task_index
from sweeper.errors import BadInput
from sweeper.task_index import Index

KEY = "tasks.names"


@dataclass(frozen=True, kw_only=True)
class LeafTask:
    """One lm-eval task.

    Attributes:
        name: what lm-eval calls it.
        sha256: its identity: the files of a task of our own, name and version of a stock one.
        version: the version that the task file states, None if it states none.
        output_type: "multiple_choice", "loglikelihood", "loglikelihood_rolling",
            "generate_until", or None for a task written in Python.
        chance: score of a guess as the task file states it, None if it does not.
        documents: number of documents where the data stands beside the task file.
        own: whether it comes from the include path rather than from lm-eval.
    """

    name: str
    sha256: str
    version: str | int | float | None
    output_type: str | None
    chance: float | None
    documents: int | None
    own: bool


def resolve(names: Sequence[str], include_path: Path | None, *, cache_dir: Path) -> list[LeafTask]:
    """The leaf tasks of ``names``: tasks, groups or tags; each once, in the order given.

    Args:
        names: as lm-eval takes them. A task of ``include_path`` wins over a stock one.
        include_path: a folder of task files, or None.
        cache_dir: where the index of lm-eval's own tasks is kept.

    Raises:
        BadInput: a name that is neither, or a group that changes its members.
    """
    own = task_index.scan(include_path) if include_path else {}
    lookup = _Lookup(own=own, include_path=include_path, cache_dir=cache_dir)
    leaves = dict.fromkeys(leaf for name in names for leaf in lookup.leaves(name))
    return [lookup.task(name) for name in leaves]


@dataclass(frozen=True, kw_only=True)
class _Lookup:
    own: Index
    include_path: Path | None
    cache_dir: Path

    def find(self, name: str) -> task_index.Entry | None:
        """Our own first: lm-eval's 14,000 names are read only when they are needed."""
        return self.own.get(name) or self.stock.get(name)

    @cached_property
    def stock(self) -> Index:
        """lm-eval's own tasks, read from the cached index once."""
        return task_index.stock(self.cache_dir)

    def leaves(self, name: str, within: tuple[str, ...] = ()) -> Iterator[str]:
        entry = self.find(name)
        if entry is None:
            raise _unknown(name, [*self.own, *self.stock])
        if entry["kind"] == "task":
            yield name
            return
        if entry["overrides"] or name in within:
            raise BadInput(
                KEY,
                name,
                "a group that changes the tasks in it",
                f"name the tasks instead, as they are: {', '.join(entry['members'][:8])}",
            )
        for member in entry["members"]:
            yield from self.leaves(member, (*within, name))

    def task(self, name: str) -> LeafTask:
        if name in self.own and self.include_path is not None:
            return _own_task(name, self.include_path / self.own[name]["path"])
        entry = self.stock[name]
        identity = ["lm-eval", task_index.version(), name, entry["version"]]
        return LeafTask(
            name=name,
            sha256=hashlib.sha256(json.dumps(identity).encode()).hexdigest(),
            version=entry["version"],
            output_type=entry["output_type"],
            chance=None,
            documents=None,
            own=False,
        )


def _unknown(name: str, known: Iterable[str]) -> BadInput:
    nearest = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"nearest: {', '.join(nearest)}" if nearest else "see: lm_eval ls tasks"
    return BadInput(KEY, name, "no lm-eval task of that name;", hint)


def _own_task(name: str, path: Path) -> LeafTask:
    config = task_index.merged(path)
    files = sorted(set(_files(path)))
    metadata = config.get("metadata") or {}
    chance = metadata.get("chance")
    return LeafTask(
        name=name,
        sha256=_digest(path.parent, files),
        version=metadata.get("version"),
        output_type=config.get("output_type"),
        chance=None if chance is None else float(chance),
        documents=_documents(files),
        own=True,
    )


def _files(path: Path) -> Iterator[Path]:
    """The task file, what it includes, and every file beside it that it names or calls."""
    yield path
    config = task_index.read_yaml(path)
    include = config.get("include", [])
    for name in include if isinstance(include, list) else [include]:
        yield from _files(path.parent / name)
    for text in _texts(config):
        for name in (text, f"{text.rpartition('.')[0].replace('.', '/')}.py"):
            if 0 < len(name) < 200 and "\n" not in name and (path.parent / name).is_file():
                yield path.parent / name


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _digest(folder: Path, files: Sequence[Path]) -> str:
    """Over names and contents, so that a moved folder keeps its identity."""
    whole = hashlib.sha256()
    for file in files:
        name = file.relative_to(folder) if file.is_relative_to(folder) else file.name
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        whole.update(f"{name}\0{content}\n".encode())
    return whole.hexdigest()


def _documents(files: Sequence[Path]) -> int | None:
    data = [file for file in files if file.suffix == ".jsonl"]
    return sum(file.read_bytes().count(b"\n") for file in data) if data else None
