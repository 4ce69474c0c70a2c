"""Whether a checkpoint directory is whole, from its headers alone: without loading a model.

A missing shard or a cut file would end a job hours later; a tokenizer with more entries than
the embedding reads beyond its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeper.errors import several
from sweeper.modeling import directory

_POINTER = b"version https://git-lfs"


def trouble(path: Path) -> str | None:
    """What is wrong with a checkpoint in the transformers format, or None."""
    checks = (_pointers, _shards, _twice, _cut, _tokenizer)
    return next((found for check in checks for found in check(path)), None)


def notes(path: Path) -> Iterator[str]:
    """What is odd about a checkpoint, and harmless."""
    rows, (_, beyond) = _rows(path), _entries(path)
    if rows is not None and (names := [n for n, i in beyond.items() if i >= rows]):
        yield (
            f"its tokenizer has {several(names, 3)} beyond the {rows} rows of its embedding: "
            "text that holds one cannot be used"
        )


def _pointers(path: Path) -> Iterator[str]:
    """Files that are still to be fetched by Git."""
    for file in directory.files(path):
        if file.is_file() and file.stat().st_size < 1024:
            with file.open("rb") as stream:
                if stream.read(len(_POINTER)) == _POINTER:
                    yield f"{file.name} is a pointer of Git LFS, not the file (git lfs pull)"


def _shards(path: Path) -> Iterator[str]:
    """Files that the index names and that are not there."""
    missing = sorted(name for name in _indexed(path) if not (path / name).is_file())
    if missing:
        yield f"{directory.INDEX} names {several(missing, 3)}, which is missing"


def _twice(path: Path) -> Iterator[str]:
    """One file and an index of others: two models."""
    named = _indexed(path)
    if named and (path / directory.WEIGHTS).is_file() and directory.WEIGHTS not in named:
        yield (
            f"{directory.WEIGHTS} and {directory.INDEX} name different weights, of which only the "
            "former would be loaded; delete what is older"
        )


def _indexed(path: Path) -> set[str]:
    return set(directory.json_of(path / directory.INDEX).get("weight_map", {}).values())


def _cut(path: Path) -> Iterator[str]:
    """Files that are shorter or longer than their headers say."""
    for file in directory.weights(path):
        there = file.stat().st_size
        with file.open("rb") as stream:
            header = int.from_bytes(stream.read(8), "little")
        if header > there - 8:
            yield f"{file.name} is cut: its header alone is longer than the file"
            return
        ends = [info["data_offsets"][1] for info in directory.header(file).values()]
        expected = 8 + header + max(ends, default=0)
        if there != expected:
            yield f"{file.name} has {there} bytes, its header speaks of {expected}"


def _tokenizer(path: Path) -> Iterator[str]:
    """A tokenizer whose own vocabulary is larger than the model's embedding.

    Tokens that were added to it may lie beyond: text holds them only where someone writes them.
    """
    rows, (last, _) = _rows(path), _entries(path)
    if rows is not None and last >= rows:
        yield (
            f"its tokenizer goes up to entry {last}, its embedding has {rows} rows: "
            "they do not belong together"
        )


def _rows(path: Path) -> int | None:
    config = directory.json_of(path / directory.CONFIG)
    found = (config.get("text_config") or {}).get("vocab_size", config.get("vocab_size"))
    return found if isinstance(found, int) else None


def _entries(path: Path) -> tuple[int, dict[str, int]]:
    """(the last entry of the tokenizer's own vocabulary, entries that were added to it)."""
    found = directory.json_of(path / "tokenizer.json")
    known: Any = (found.get("model") or {}).get("vocab") or {}
    added = {token["content"]: token["id"] for token in found.get("added_tokens", [])}
    if isinstance(known, dict):
        return max((i for t, i in known.items() if t not in added), default=-1), added
    return len(known) - 1, added
