"""What the head of a GGUF file says; read without its tensors and without the library for them.

The library makes an array of numpy views of every token, which takes most of a minute where there
are 262,144.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_PLAIN = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def values(path: Path, names: Collection[str]) -> dict[str, Any]:
    """The values of these keys, of those that are there; nothing behind the last is read.

    Args:
        path: a GGUF file, or the first piece of one.
        names: the keys that are wanted.

    Raises:
        ValueError: it is no GGUF file of version 2 or 3, or ends within its head.
    """
    found: dict[str, Any] = {}
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError(f"{path} is no GGUF file")
        version, _tensors, count = _unpacked(file, "IQQ")
        if version not in (2, 3):
            raise ValueError(f"{path} is of GGUF version {version}")
        for _ in range(count):
            name = _text(file)
            (kind,) = _unpacked(file, "I")
            value = _value(file, kind)
            if name in names:
                found[name] = value
                if len(found) == len(names):
                    break
    return found


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _text(file)
    if kind != _ARRAY:
        return _unpacked(file, _form(kind))[0]
    of, count = _unpacked(file, "IQ")
    if of in (_STRING, _ARRAY):
        return [_value(file, of) for _ in range(count)]
    return list(_unpacked(file, f"{count}{_form(of)}"))


def _form(kind: int) -> str:
    if kind not in _PLAIN:
        raise ValueError(f"GGUF has no values of type {kind}")
    return _PLAIN[kind]


def _text(file: BinaryIO) -> str:
    (length,) = _unpacked(file, "Q")
    return _bytes(file, length).decode("utf-8", errors="replace")


def _unpacked(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(f"<{form}", _bytes(file, struct.calcsize(f"<{form}")))


def _bytes(file: BinaryIO, count: int) -> bytes:
    found = file.read(count)
    if len(found) != count:
        raise ValueError(f"{file.name} ends within its head")
    return found
