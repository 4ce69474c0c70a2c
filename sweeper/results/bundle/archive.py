"""A bundle as a file: a zip whose first entry lists every other one with size and SHA-256."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeper.errors import IsorateError, several
from sweeper.store import files

FORMAT = 1
INDEX = "bundle.json"
MOST_BYTES = 8 << 30  # unpacked; a bundle is read into memory
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can name: equal content, equal bytes


class NoBundle(IsorateError):
    """This file is no bundle that can be read; the message says what it is instead."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A bundle's files in memory.

    Attributes:
        head: what its index says of the whole: "name", "isorate" (the version that wrote it).
        files: path inside the bundle -> content, the index left out.
        damaged: path -> what is wrong with it, by the index; such a file may be absent here.
        digest: SHA-256 of the index, and so of everything: equal digests, equal bundles.
    """

    head: Mapping[str, Any]
    files: Mapping[str, bytes]
    digest: str
    damaged: Mapping[str, str] = field(default_factory=dict)


def pack(contents: Mapping[str, bytes], head: Mapping[str, Any]) -> bytes:
    """A bundle of these files; equal contents give equal bytes.

    Args:
        contents: path inside the bundle -> content.
        head: what is to be said of the whole, as JSON data.
    """
    listed = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in sorted(contents.items())
    }
    index = json_bytes({**head, "format": FORMAT, "files": listed})
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as packed:
        for name, data in [(INDEX, index), *sorted(contents.items())]:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, data, compresslevel=9)
    return target.getvalue()


def read(path: Path) -> Archive:
    """Open a bundle; nothing of it is written to the disk.

    Raises:
        NoBundle: there is no such file, it is no bundle, is cut short, is of a newer format, or
            holds a path that leads out of it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NoBundle(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            return _opened(path, packed)
    except zipfile.BadZipFile as error:
        if data.startswith(b"PK\x03\x04"):
            raise NoBundle(
                f"{path} is cut short: the end of the archive is missing "
                f"({len(data)} bytes are here). Copy it again."
            ) from error
        raise _foreign(path, "it is no zip archive") from error


def json_bytes(value: Any) -> bytes:
    """Strict JSON, one text per value."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return (text + "\n").encode()


def write(path: Path, data: bytes) -> None:
    """Put a file in its place whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    files.flush_directory(path.parent)


def _opened(path: Path, packed: zipfile.ZipFile) -> Archive:
    entries = packed.infolist()
    names = [entry.filename for entry in entries]
    if outside := [name for name in names if not _inside(name)]:
        raise NoBundle(
            f"{path} holds paths that lead out of it: {several(outside, 3)}. "
            "No bundle does; nothing was unpacked."
        )
    if INDEX not in names:
        raise _foreign(path, f"it has no {INDEX}")
    if (unpacked := sum(entry.file_size for entry in entries)) > MOST_BYTES:
        raise NoBundle(f"{path} would unpack to {unpacked} bytes; at most {MOST_BYTES} are read.")
    try:
        raw = packed.read(INDEX)
        index = json.loads(raw)
        form, listed = index["format"], index["files"]
        sizes = {str(n): (int(e["size"]), str(e["sha256"])) for n, e in listed.items()}
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
        raise _foreign(path, f"its {INDEX} is none of a bundle") from error
    if not isinstance(form, int) or form > FORMAT:
        raise NoBundle(
            f"{path} has format {form}, written by Isorate {index.get('isorate', '?')}; "
            f"this version reads formats up to {FORMAT}. Install a newer one."
        )
    found: dict[str, bytes] = {}
    damaged = {name: "is missing" for name in sizes if name not in names}
    for name in names:
        if name == INDEX:
            continue
        if name not in sizes or name in found:
            damaged[name] = "is none that the bundle was written with"
            continue
        try:
            found[name] = packed.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError):
            damaged[name] = "cannot be unpacked any more"
            continue
        size, digest = sizes[name]
        if (len(found[name]), hashlib.sha256(found[name]).hexdigest()) != (size, digest):
            damaged[name] = "has changed: its SHA-256 is not the one recorded"
    head = {key: value for key, value in index.items() if key != "files"}
    return Archive(head=head, files=found, damaged=damaged, digest=hashlib.sha256(raw).hexdigest())


def _inside(name: str) -> bool:
    return "\\" not in name and all(part not in ("", ".", "..") for part in name.split("/"))


def _foreign(path: Path, why: str) -> NoBundle:
    return NoBundle(f"{path} is no bundle: {why}. `isorate bundle NAME` writes one.")
