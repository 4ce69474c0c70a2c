"""Where things of the Hugging Face hub lie on this machine, found without the hub's libraries.

<HF_HUB_CACHE>/{models,datasets}--ORG--NAME/snapshots/<commit>/   files as they are there
<HF_DATASETS_CACHE>/isorate/<digest>/                             one pinned data set, prepared
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")
"""The variables that switch the hub off in every library that would ask it."""

_TRUE = ("1", "ON", "YES", "TRUE")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DATA_OPTIONS = ("name", "data_files", "data_dir")


def is_offline() -> bool:
    """Whether the hub is switched off in this process."""
    return any(os.environ.get(name, "").upper() in _TRUE for name in OFFLINE[:2])


def is_commit(revision: str | None) -> bool:
    """Whether a revision is one commit, rather than a branch or a tag that may move."""
    return bool(revision and _COMMIT.fullmatch(revision))


def hub() -> Path:
    """The cache of repositories."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(named or _home() / "hub").expanduser()


def datasets() -> Path:
    """The cache of prepared data sets."""
    return Path(os.environ.get("HF_DATASETS_CACHE") or _home() / "datasets").expanduser()


def _home() -> Path:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("HF_HOME") or caches / "huggingface").expanduser()


def snapshot(kind: str, name: str, revision: str | None) -> Path | None:
    """The directory of one revision of a repository; None if it is not here.

    Args:
        kind: "models" or "datasets".
        name: the hub id.
        revision: a commit, or a branch or tag as it was when it was fetched last.
    """
    repository = hub() / f"{kind}--{name.replace('/', '--')}"
    named = repository / "refs" / (revision or "main")
    commit = named.read_text().strip() if named.is_file() else revision or "main"
    found = repository / "snapshots" / commit
    return found if found.is_dir() else None


def revisions(kind: str, name: str) -> list[str]:
    """The commits of a repository that are on this machine."""
    folder = hub() / f"{kind}--{name.replace('/', '--')}" / "snapshots"
    return sorted(path.name for path in folder.glob("*")) if folder.is_dir() else []


def prepared(name: str, revision: str, options: Mapping[str, Any]) -> Path:
    """The directory that holds one data set at one commit, prepared, and nothing else.

    `datasets` ignores the revision when it is offline and takes what it prepared last; a
    directory for each request is what makes a pin hold.

    Args:
        name: the hub id.
        revision: a commit.
        options: "name", "data_files" and "data_dir" as given to `datasets.load_dataset`.
    """
    asked = {key: options.get(key) for key in _DATA_OPTIONS}
    text = json.dumps([name, revision, asked], sort_keys=True)
    return datasets() / "isorate" / hashlib.sha256(text.encode()).hexdigest()[:24]


def is_prepared(path: Path) -> bool:
    """Whether a directory of `prepared` is filled, whole."""
    return any(whole(path))


def was_loaded(name: str) -> bool:
    """Whether any revision of a data set was loaded here without a pin."""
    owner, _, own = name.rpartition("/")
    folders = datasets().glob(f"{owner}___*" if owner else "*")
    return any(
        _plain(folder.name.rpartition("___")[2]) == _plain(own)
        and any(whole(folder.parent, folder.name))
        for folder in folders
    )


def whole(path: Path, name: str = "*") -> Iterator[Path]:
    """Data sets below ``path`` whose preparation came to its end."""
    for file in path.glob(f"{name}/*/*/*/dataset_info.json"):
        if file.parent.suffix != ".incomplete":
            yield file.parent


def _plain(name: str) -> str:
    """A name as it is in both of the spellings that `datasets` gives it."""
    return name.replace("_", "").lower()
