"""Whether a checkpoint directory is whole, from its headers alone: without loading a model.

A missing shard or a cut file would end a job hours later; a tokenizer with more entries than
the embedding reads beyond its end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeper.errors import several


def trouble(path: Path) -> str | None:
    """What is wrong with a checkpoint in the transformers format, or None."""
    return next((found for check in (_shards, _cut, _tokenizer) for found in check(path)), None)


def _shards(path: Path) -> Iterator[str]:
    """Files that an index names and that are not there."""
    for index in sorted(path.glob("*.safetensors.index.json")):
        named = set(_json(index).get("weight_map", {}).values())
        missing = sorted(name for name in named if not (path / name).is_file())
        if missing:
            yield f"{index.name} names {several(missing, 3)}, which is missing"


def _cut(path: Path) -> Iterator[str]:
    """Files that are shorter or longer than their headers say."""
    for file in sorted(path.glob("*.safetensors")):
        there = file.stat().st_size
        with file.open("rb") as stream:
            header = int.from_bytes(stream.read(8), "little")
            if header > there - 8:
                yield f"{file.name} is cut: its header alone is longer than the file"
                return
            tensors = json.loads(stream.read(header))
        ends = [t["data_offsets"][1] for name, t in tensors.items() if name != "__metadata__"]
        expected = 8 + header + max(ends, default=0)
        if there != expected:
            yield f"{file.name} has {there} bytes, its header speaks of {expected}"


def _tokenizer(path: Path) -> Iterator[str]:
    """A tokenizer that has more entries than the model has embeddings."""
    rows = _json(path / "config.json").get("vocab_size")
    if not isinstance(rows, int) or not (path / "tokenizer.json").is_file():
        return
    found = _json(path / "tokenizer.json")
    known = found.get("model", {}).get("vocab", {})
    last = max(known.values(), default=-1) if isinstance(known, dict) else len(known) - 1
    last = max([last, *(token["id"] for token in found.get("added_tokens", []))])
    if last >= rows:
        yield (
            f"its tokenizer goes up to entry {last}, its embedding has {rows} rows: "
            "they do not belong together"
        )


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
