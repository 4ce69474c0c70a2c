"""A GGUF file that comes in pieces, as packages with a limit on their size ship it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count, takewhile
from pathlib import Path

from sweeper.errors import BadInput
from sweeper.modeling import gguf_header
from sweeper.store import files

FIRST = "gguf"
"""The role of the file, or of its first piece; the others are gguf.2, gguf.3 and so on."""


def of(sources: Mapping[str, Path]) -> list[Path]:
    """The pieces in their order, of what a job is given."""
    roles = takewhile(lambda role: role in sources, (f"{FIRST}.{n}" for n in count(2)))
    return [sources[FIRST], *(sources[role] for role in roles)]


@contextmanager
def whole(pieces: Sequence[Path], sha256: str, scratch: Path) -> Iterator[Path]:
    """The file that the pieces make: itself, or joined in ``scratch`` and taken away afterwards.

    Raises:
        BadInput: a piece is missing, the first is no GGUF file, or together they have another hash.
    """
    for piece in pieces:
        if not piece.is_file():
            raise BadInput(
                "model.id", piece, "there is no such file.", "Install or copy the model again."
            )
    with pieces[0].open("rb") as file:
        if file.read(len(gguf_header.MAGIC)) != gguf_header.MAGIC:
            raise BadInput(
                "model.id",
                pieces[0],
                "it is not a GGUF file.",
                "For a checkpoint set model.format=hf.",
            )
    if files.joined_sha256(pieces) != sha256:
        names = ", ".join(piece.name for piece in pieces)
        raise BadInput("model.id", names, "changed since the sweep was planned.", "Plan again.")
    if len(pieces) == 1:
        yield pieces[0]
        return
    joined = scratch / "model.gguf"
    try:
        with joined.open("wb") as out:
            for piece in pieces:
                with piece.open("rb") as file:
                    shutil.copyfileobj(file, out, 1 << 20)
        yield joined
    finally:
        joined.unlink(missing_ok=True)
