"""Small GGUF files, whole or in pieces that packages ship."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_STRING, _ARRAY, _INT, _FLOAT, _BOOL = 8, 9, 5, 6, 7


def head(values: Mapping[str, Any], *, version: int = 3) -> bytes:
    """The head of a GGUF file without tensors."""
    made = [struct.pack("<IQQ", version, 0, len(values))]
    made += [_text(name) + _typed(value) for name, value in values.items()]
    return b"GGUF" + b"".join(made)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _typed(value: Any) -> bytes:
    if isinstance(value, list):
        kind, _ = _of(value[0])
        return struct.pack("<IIQ", _ARRAY, kind, len(value)) + b"".join(_of(v)[1] for v in value)
    kind, packed = _of(value)
    return struct.pack("<I", kind) + packed


def _of(value: Any) -> tuple[int, bytes]:
    if isinstance(value, bool):
        return _BOOL, struct.pack("<?", value)
    if isinstance(value, int):
        return _INT, struct.pack("<i", value)
    if isinstance(value, float):
        return _FLOAT, struct.pack("<f", value)
    return _STRING, _text(value)


def packages(root: Path, file: str, pieces: Sequence[bytes]) -> list[str]:
    """Packages below ``root`` that ship the pieces of a file; their names."""
    names = [f"{root.name}_part{n}" for n in range(1, len(pieces) + 1)]
    for number, (name, piece) in enumerate(zip(names, pieces, strict=True)):
        folder = root / name / "data"
        folder.mkdir(parents=True)
        (root / name / "__init__.py").touch()
        (folder / f"{file}.part{number:02d}").write_bytes(piece)
    return names
