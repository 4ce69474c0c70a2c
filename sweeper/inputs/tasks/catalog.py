"""What a task name means: the leaf tasks behind it, each with the hash that identifies it.

For the front end: imports neither lm-eval nor torch, and answers in milliseconds once
lm-eval's own names are cached.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sweeper import data
from sweeper.config.section import Frozen
from sweeper.errors import BadInput
from sweeper.inputs.tasks import dependencies
from sweeper.inputs.tasks import index as indexs
from sweeper.inputs.tasks.index import Index

KEY = "tasks.names"
SHIPPED = Path(data.__file__).parent / "tasks"
"""The project's own tasks, which can be named like lm-eval's."""


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
        folder: where its files are, None for one of lm-eval's own.
        listed: the name in the configuration that it came by: its own, a group's or a tag's.
        group: of the names in the configuration the group that it is counted in: one whose scores
            are means over all its documents, and none of whose tasks another one has; else "".
    """

    name: str
    sha256: str
    version: str | int | float | None
    output_type: str | None
    chance: float | None
    documents: int | None
    folder: Path | None
    listed: str = ""
    group: str = ""

    def limit(self, section: Frozen) -> int | None:
        """How many of its documents are wanted, None for all, by the `tasks` section."""
        limits: Mapping[str, int] = section["limits"]
        found: int | None = limits.get(self.listed, section["limit"])
        return found


@dataclass(frozen=True, kw_only=True)
class HubData:
    """The data set of the hub that a task file names.

    Attributes:
        id: its hub id.
        revision: as the task names it.
        options: "name", "data_files" and "data_dir" for `datasets.load_dataset`.
    """

    id: str
    revision: str
    options: Mapping[str, Any]


def resolve(names: Sequence[str], include_path: Path | None, *, cache_dir: Path) -> list[LeafTask]:
    """The leaf tasks of ``names``: tasks, groups or tags; each once, in the order given.

    Args:
        names: as lm-eval takes them. A task of ``include_path`` wins over a stock one.
        include_path: a folder of task files, or None.
        cache_dir: where the index of lm-eval's own tasks is kept.

    Raises:
        BadInput: a name that is neither, or a group that changes its members.
    """
    lookup = Lookup(include_path=include_path, cache_dir=cache_dir)
    listed: dict[str, str] = {}
    for name in names:
        for leaf in lookup.leaves(name):
            listed.setdefault(leaf, name)
    home = _groups(lookup, names)
    return [
        replace(lookup.task(leaf), listed=name, group=home.get(leaf, ""))
        for leaf, name in listed.items()
    ]


def _groups(lookup: Lookup, names: Sequence[str]) -> dict[str, str]:
    """Leaf task -> the group that has scores of its own; a part of one would be no score of it."""
    home: dict[str, str] = {}
    for name in names:
        if lookup.pools(name) and home.keys().isdisjoint(leaves := set(lookup.leaves(name))):
            home |= dict.fromkeys(leaves, name)
    return home


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """All tasks by name: the user's own, the project's, lm-eval's.

    Attributes:
        include_path: a folder of task files, or None.
        cache_dir: where the index of lm-eval's own tasks is kept.
    """

    include_path: Path | None
    cache_dir: Path

    def data(self, name: str) -> HubData | None:
        """What a leaf task reads from the hub; None if its data is local, or only code knows."""
        found = (self.find(name)[0] or {}).get("data")
        if found is None:
            return None
        options = {key: found.get(key) for key in ("name", "data_files", "data_dir")}
        return HubData(id=found["id"], revision=found.get("revision") or "main", options=options)

    def find(self, name: str) -> tuple[indexs.Entry | None, Path | None]:
        """The entry and its folder; lm-eval's 14,000 names are read only when they are needed."""
        for folder, index in self.ours:
            if name in index:
                return index[name], folder
        return self.stock.get(name), None

    @cached_property
    def ours(self) -> list[tuple[Path, Index]]:
        """The folders that go before lm-eval: the user's, then the project's."""
        folders = [self.include_path] if self.include_path else []
        return [(folder, indexs.scan(folder)) for folder in dict.fromkeys([*folders, SHIPPED])]

    @cached_property
    def stock(self) -> Index:
        """lm-eval's own tasks, read from the cached index once."""
        return indexs.stock(self.cache_dir)

    def pools(self, name: str) -> bool:
        """Whether the name is a group that has scores of its own, over all its documents."""
        return bool((self.find(name)[0] or {}).get("pooled"))

    def leaves(self, name: str, within: tuple[str, ...] = ()) -> Iterator[str]:
        """The leaf tasks of a task, group or tag."""
        entry, _ = self.find(name)
        if entry is None:
            known = [known for _, index in self.ours for known in index]
            raise _unknown(name, [*known, *self.stock])
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
        """A leaf task, once it is sure that it can be scored here."""
        entry, folder = self.find(name)
        assert entry is not None
        _check_metrics(name, entry["metrics"])
        path = (folder or indexs.directory()) / entry["path"]
        dependencies.check(KEY, name, path)
        if folder is not None:
            return _own_task(name, path, folder)
        identity = ["lm-eval", indexs.version(), name, entry["version"]]
        return LeafTask(
            name=name,
            sha256=hashlib.sha256(json.dumps(identity).encode()).hexdigest(),
            version=entry["version"],
            output_type=entry["output_type"],
            chance=None,
            documents=None,
            folder=None,
        )


def _check_metrics(name: str, metrics: Sequence[Sequence[Any]]) -> None:
    """Refuse a task of whose metrics none says which of two scores is the better one."""
    known = indexs.directions()
    if metrics and all(
        better is None and (metric not in known or metric == "bypass") for metric, better in metrics
    ):
        raise BadInput(
            KEY,
            name,
            f"it has no metric that can rank models ({', '.join(m for m, _ in metrics)}):",
            "write a task file that includes it and gives a metric `higher_is_better`, and name "
            "its folder in tasks.path.",
        )


def _unknown(name: str, known: Iterable[str]) -> BadInput:
    nearest = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"nearest: {', '.join(nearest)}" if nearest else "see: lm_eval ls tasks"
    return BadInput(KEY, name, "no lm-eval task of that name;", hint)


def _own_task(name: str, path: Path, folder: Path) -> LeafTask:
    config = indexs.merged(path)
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
        folder=folder,
    )


def _files(path: Path) -> Iterator[Path]:
    """The task file, what it includes, and every file beside it that it names or calls."""
    yield path
    config = indexs.read_yaml(path)
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
