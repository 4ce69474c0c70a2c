"""What of a plan's inputs is not on this machine; asks no network, imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from sweeper.errors import BadInput
from sweeper.inputs import access, hub_cache
from sweeper.inputs.tasks import catalog
from sweeper.store.hashing import cache_directory

_SHOWN = 6
_HINT = "Run `isorate prefetch` with the same arguments where there is a network."

Spec = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Lack:
    """One input of a plan that is not on this machine.

    Attributes:
        key: the configuration key that asks for it.
        kind: "models" or "datasets", or "" for a local file.
        name: what is asked for.
        reason: what is there instead.
        repository: the hub id to fetch.
    """

    key: str
    kind: str
    name: str
    reason: str
    repository: str = ""

    def __str__(self) -> str:
        """'model.id=ORG/NAME: it is not on this machine'."""
        return f"{self.key}={self.name}: {self.reason}"


def missing(stages: Iterable[Spec]) -> list[Lack]:
    """What the stages need from outside the store and this machine does not have; each once.

    Args:
        stages: stage records (`Stage.record`), parents embedded or not. Asks no network and
            imports nothing of the hub.
    """
    found: dict[tuple[str, str], Lack] = {}
    for lack in _lacks({need: None for spec in stages for need in _needs(spec)}):
        found.setdefault((lack.key, lack.name), lack)
    return list(found.values())


def check(stages: Iterable[Spec]) -> None:
    """Refuse stages whose inputs are not all here; for machines without a network.

    Raises:
        BadInput: the first lack by its key, with the others named.
    """
    lacks = missing(stages)
    if lacks:
        more = [str(lack) for lack in lacks[1:_SHOWN]]
        rest = len(lacks) - len(more) - 1
        also = f" Also: {'; '.join(more)}{f'; and {rest} more' if rest else ''}." if more else ""
        raise BadInput(
            lacks[0].key,
            lacks[0].name,
            f"{lacks[0].reason}, and the hub is switched off.{also}",
            _HINT,
        )


def before_submission(stages: Collection[Spec], *, pinned: bool) -> None:
    """Refuse, before any job is started, what would fail for want of an input.

    A sweep that was prefetched lives from what was fetched, with the hub switched off. Of
    any other, what is not here yet must at least be open to this user.

    Raises:
        BadInput: something lacks and cannot be fetched, or may not be.
    """
    if pinned or hub_cache.is_offline():
        check(stages)
        switch_hub_off()
        return
    wanted: dict[tuple[str, str], Lack] = {}  # dozens of tasks read one data set
    for lack in missing(stages):
        if not lack.kind:
            raise BadInput(lack.key, lack.name, f"{lack.reason}.", "Was it moved since the plan?")
        wanted.setdefault((lack.kind, lack.repository), lack)
    for lack in wanted.values():
        access.check(lack.key, lack.kind, lack.repository)


def switch_hub_off() -> None:
    """Make this process and those it starts live from what is on this machine."""
    os.environ.update(dict.fromkeys(hub_cache.OFFLINE, "1"))


def _needs(spec: Spec) -> Iterator[tuple[Any, ...]]:
    """What one stage reads; thousands of stages read the same, which is looked for once."""
    params, sources = spec["params"], spec.get("sources", {})
    for role, at in sources.items():
        revision = params["model"].get("revision") if role == "model" else None
        yield "source", role, str(at), revision
    text = params.get("calibration") or {}
    if "id" in text:
        yield "text", text["id"], text["revision"], text.get("subset"), text.get("data_files")
    if spec["kind"] == "evaluate":
        pinned = params.get("data_revisions")
        revisions = None if pinned is None else tuple(sorted(pinned.items()))
        yield "task", params["task"], sources.get("tasks"), revisions


def _lacks(needs: Iterable[tuple[Any, ...]]) -> Iterator[Lack]:
    lookup = cache(partial(_lookup, cache_directory()))
    for kind, *need in needs:
        if kind == "source":
            yield from _source(*need)
        elif kind == "text":
            name, revision, subset, data_files = need
            options = {"name": subset, "data_files": data_files}
            yield from _dataset("calibration.dataset", name, revision, options)
        else:
            name, folder, revisions = need
            yield from _task(name, lookup(folder), revisions)


def _lookup(index: Path, folder: str | None) -> catalog.Lookup:
    return catalog.Lookup(include_path=Path(folder) if folder else None, cache_dir=index)


def _source(role: str, at: str, revision: str | None) -> Iterator[Lack]:
    path = Path(at).expanduser()
    if path.exists():
        return
    if role != "model" or path.is_absolute():
        yield Lack(key=role, kind="", name=at, reason="no such file or directory")
        return
    folder = hub_cache.snapshot("models", at, revision)
    if folder is None or not (folder / "config.json").is_file():
        why = _else("models", at, revision)
        yield Lack(key="model.id", kind="models", name=at, reason=why, repository=at)


def _dataset(key: str, name: str, revision: str, options: Mapping[str, Any]) -> Iterator[Lack]:
    if hub_cache.is_commit(revision):
        here = hub_cache.is_prepared(hub_cache.prepared(name, revision, options))
    else:
        # `datasets` does not find again, offline, what it made from named files.
        here = not options.get("data_files") and hub_cache.was_loaded(name)
    if not here:
        why = _else("datasets", name, revision)
        yield Lack(key=key, kind="datasets", name=name, reason=why, repository=name)


def _task(
    name: str, lookup: catalog.Lookup, revisions: Sequence[tuple[str, str]] | None
) -> Iterator[Lack]:
    reads = lookup.data(name)
    if revisions is None:
        if reads and not hub_cache.was_loaded(reads.id):
            why = f"its data set {reads.id} is not on this machine"
            yield _of_task(name, reads.id, why)
        return
    for repository, commit in revisions:
        if reads and repository == reads.id:
            where = hub_cache.prepared(repository, commit, reads.options)
            here = hub_cache.is_prepared(where)
        else:  # loaded by the task's own code, with options that only that knows
            here = commit in hub_cache.revisions("datasets", repository)
        if not here:
            why = _else("datasets", repository, commit, f"its data set {repository}")
            yield _of_task(name, repository, why)


def _of_task(task: str, repository: str, why: str) -> Lack:
    return Lack(key="tasks.names", kind="datasets", name=task, reason=why, repository=repository)


def _else(kind: str, name: str, revision: str | None, it: str = "it") -> str:
    """Why something counts as lacking, with what is there in its stead."""
    there = [commit[:12] for commit in hub_cache.revisions(kind, name)]
    if there and hub_cache.is_commit(revision):
        return f"{it} is pinned to {str(revision)[:12]}, but this machine has {', '.join(there)}"
    return f"{it} is not on this machine"
