"""Loads data sets of the hub at exactly the revision that a plan pinned, online or not.

Tasks of lm-eval, and what they call, load their data through `datasets.load_dataset`
wherever they like. Within `pinned` those calls get the pinned revision, so the tasks
themselves stay unmodified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import datasets
from datasets.packaged_modules.cache.cache import Cache

from sweeper.errors import BadInput
from sweeper.inputs import hub_cache

Find = Callable[[str, str | None], str | None]
"""From a hub id and the revision that a task asks for to the commit to take; None: as asked."""

_stock = datasets.load_dataset


@dataclass(kw_only=True)
class Loads:
    """What is loaded within a `pinned` block.

    Attributes:
        find: which commit to take.
        seen: hub id -> the commit that was loaded.
    """

    find: Find
    seen: dict[str, str] = field(default_factory=dict)

    def load(self, path: str, name: str | None = None, *args: Any, **options: Any) -> Any:
        """In place of `datasets.load_dataset`."""
        commit = self.find(path, options.get("revision"))
        if commit is None:
            return self._noted(path, _stock(path, name, *args, **options))
        self.seen[path] = commit
        return load_dataset(path, name, *args, **{**options, "revision": commit})

    def _noted(self, path: str, found: Any) -> Any:
        """Keep the commit that `datasets` chose, which names the directory it prepared."""
        parts = found.values() if isinstance(found, dict) else [found]
        for part in parts:
            for file in getattr(part, "cache_files", []):
                commit = file["filename"].split("/")[-2]
                if hub_cache.is_commit(commit):
                    self.seen[path] = commit
        return found


_current: list[Loads] = []


@wraps(_stock)
def _dispatch(*args: Any, **options: Any) -> Any:
    # A task's module may keep this function (`from datasets import load_dataset`) for good.
    return _current[-1].load(*args, **options) if _current else _stock(*args, **options)


@contextmanager
def pinned(revisions: Mapping[str, str] | Find) -> Iterator[Loads]:
    """Within it, `datasets.load_dataset` takes the pinned revisions and notes what it loads.

    Args:
        revisions: hub id -> commit, or a function that tells it.
    """
    find = revisions if callable(revisions) else lambda path, _: revisions.get(path)
    loads = Loads(find=find)
    _current.append(loads)
    datasets.load_dataset = _dispatch
    try:
        yield loads
    finally:
        _current.pop()
        if not _current:
            datasets.load_dataset = _stock


def load_dataset(path: str, name: str | None = None, *args: Any, **options: Any) -> Any:
    """`datasets.load_dataset`, of which a pinned revision holds offline too.

    Offline `datasets` takes what it prepared last, whatever the revision, and does not find
    a data set again that was made from named files. So each pinned one is prepared in a
    directory with nothing else in it, and offline it is read from there.

    Raises:
        BadInput: the hub is switched off and the pinned revision was never fetched.
    """
    revision = options.get("revision")
    if not hub_cache.is_commit(revision):
        return _stock(path, name, *args, **options)
    where = hub_cache.prepared(path, str(revision), {"name": name, **options})
    if not hub_cache.is_offline():
        return _stock(path, name, *args, **{**options, "cache_dir": str(where)})
    folder = next(hub_cache.whole(where), None)
    if folder is None:
        raise BadInput(
            "data set",
            f"{path}@{revision}",
            "not on this machine, and the hub is switched off.",
            "Run `isorate prefetch` with the same arguments where there is a network.",
        )
    return _read(path, where, folder, options.get("split"))


def _read(path: str, where: Path, folder: Path, split: Any) -> Any:
    """What lies, prepared, in ``folder`` below ``where``."""
    config, version, commit = folder.parts[-3:]
    builder = Cache(
        cache_dir=str(where),
        repo_id=path,
        dataset_name=path.rpartition("/")[2],
        config_name=config,
        version=version,
        hash=commit,
    )
    return builder.as_dataset(split=split)
