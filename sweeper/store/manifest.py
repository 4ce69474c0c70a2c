"""What a committed output consists of, and whether it still does."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from sweeper.errors import DamagedOutput
from sweeper.store import files

NAME = "manifest.json"
RESULT = "result.json"
REBUILD = "rebuild-"
_CHANGED = "{} has changed: its hash is not the one recorded"


class FileEntry(TypedDict):
    """One file of an output: bytes, and SHA-256 in hex."""

    size: int
    sha256: str


Listing = Mapping[str, FileEntry]
"""Path inside the output -> its entry."""


class SlurmAttempt(TypedDict, total=False):
    """One attempt in a job of a cluster; see `launchers.slurm.job.attempt`.

    ``ending`` is the kind of error of an earlier attempt, "" where it ended well.
    """

    job: str
    restart: int
    node: str
    partition: str
    gpus: int
    gpu_type: str
    submission: str
    started: str
    ended: str
    seconds: float
    gpu_hours: float
    peak_rss_bytes: int
    ending: str


class SlurmFacts(SlurmAttempt, total=False):
    """The attempt that made an output, and those before it."""

    earlier_attempts: Sequence[SlurmAttempt]


class Facts(TypedDict, total=False):
    """Where and when an attempt ran and what it took; see `sweeper.worker.metering`."""

    started: str
    ended: str
    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    device: str
    device_name: str
    peak_gpu_bytes: int
    host: str
    machine: str
    cpu: str
    instructions: str
    kernels: str
    kernel_settings: Mapping[str, str]
    versions: Mapping[str, str]
    commit: str
    work: float
    slurm: SlurmFacts


class Failure(Facts):
    """Why the cell itself is at fault: ``failure.json``."""

    kind: str
    key: str
    label: str
    error: str
    message: str
    traceback: str


class Manifest(Facts):
    """What a committed output is: ``manifest.json``."""

    kind: str
    key: str
    label: str
    params: Mapping[str, Any]
    library: Mapping[str, str]
    format: int
    parents: Mapping[str, str]
    attempt: str
    files: Listing


class Rebuild(TypedDict):
    """A bulk directory that was built again with other bytes than the manifest's."""

    key: str
    attempt: str
    files: Listing


def listing(out: Path) -> dict[str, FileEntry]:
    """Size and hash of every file below ``out``, the manifest itself left out."""
    return {
        name: {"size": stat.st_size, "sha256": files.sha256(out / name)}
        for name, stat in files.walk(out)
        if name != NAME
    }


def seal(manifest: Manifest | Rebuild) -> Mapping[str, object]:
    """The record with a hash of itself, so that a flipped bit in it is noticed."""
    return {**manifest, "seal": _digest(manifest)}


def load(path: Path) -> Manifest:
    """Read the sealed manifest of an output.

    Raises:
        FileNotFoundError: there is none.
        DamagedOutput: it is no JSON or differs from its seal.
    """
    return cast(Manifest, _load(path))


def _load(path: Path) -> Mapping[str, Any]:
    """Read a sealed manifest or rebuild record.

    Raises:
        FileNotFoundError: there is none.
        DamagedOutput: it is no JSON or differs from its seal.
    """
    try:
        found: Mapping[str, Any] = files.read_json(path)
        recorded = found["seal"]
        intact = recorded == _digest({k: v for k, v in found.items() if k != "seal"})
        intact = intact and all(map(_stays_inside, found["files"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise DamagedOutput(f"{path} is damaged: it is no sealed manifest any more")
    return found


def bulk(listed: Listing) -> set[str]:
    """The top-level directories of an output: those that may be dropped."""
    return {name.split("/", 1)[0] for name in listed if "/" in name}


def part(listed: Listing, directory: str) -> Listing:
    """The entries of one bulk directory."""
    return {n: entry for n, entry in listed.items() if n.startswith(directory + "/")}


def records(listed: Listing) -> Listing:
    """The entries that always stay: those that lie directly in the output."""
    return {n: entry for n, entry in listed.items() if "/" not in n}


def check(out: Path, manifest: Manifest, *, full: bool) -> None:
    """Compare an output with its manifest.

    A bulk directory may be absent as a whole (dropped), or hold what a recorded
    rebuild put there. The quick check compares all sizes and the hash of the result;
    the full one compares all hashes.

    Raises:
        DamagedOutput: naming the first file that is missing or differs.
    """
    listed: Listing = manifest["files"]
    _compare(out, records(listed), hashed=set(listed) if full else {RESULT})
    variants = [listed, *(r["files"] for r in rebuilds(out))]
    for directory in sorted(bulk(listed)):
        try:
            if (out / directory).is_dir():
                _compare_any(out, [part(v, directory) for v in variants], full=full)
        except DamagedOutput:
            if (out / directory).is_dir():  # else another process dropped it just now
                raise


def check_file(path: Path, entry: FileEntry, *, hashed: bool = True) -> None:
    """Compare one file with its entry {"size", "sha256"}.

    Raises:
        DamagedOutput: it is missing or differs.
    """
    try:
        _same(path, entry, path.stat().st_size)
        if hashed and files.sha256(path) != entry["sha256"]:
            raise DamagedOutput(_CHANGED.format(path))
    except (FileNotFoundError, NotADirectoryError):  # a disk that stutters is no damage
        raise DamagedOutput(f"{path} is missing") from None


def result(out: Path, manifest: Manifest) -> Any:
    """The result of an output, whose bytes are those that the manifest recorded.

    Raises:
        DamagedOutput: it is missing or differs.
    """
    path, entry = out / RESULT, manifest["files"][RESULT]
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedOutput(f"{path} is missing") from None
    _same(path, entry, len(data))
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise DamagedOutput(_CHANGED.format(path))
    return json.loads(data)


def rebuilds(out: Path) -> list[Rebuild]:
    """The records of rebuilds whose bytes differed from the manifest's, by attempt."""
    names = sorted(n for n in os.listdir(out) if n.startswith(REBUILD))
    return [cast(Rebuild, _load(out / name)) for name in names]


def _same(path: Path, entry: FileEntry, size: int) -> None:
    if size != entry["size"]:
        raise DamagedOutput(f"{path} has {size} bytes, {entry['size']} were written")


def _compare_any(out: Path, variants: Sequence[Listing], *, full: bool) -> None:
    first: DamagedOutput | None = None
    for variant in variants:
        try:
            return _compare(out, variant, hashed=set(variant) if full else set())
        except DamagedOutput as damage:
            first = first or damage
    assert first is not None
    raise first


def _compare(out: Path, listed: Listing, *, hashed: set[str]) -> None:
    for name, entry in listed.items():
        check_file(out / name, entry, hashed=name in hashed)


def _stays_inside(name: str) -> bool:
    """Whether a path in a manifest is one that `listing` could have written."""
    return all(part not in ("", ".", "..") for part in name.split("/"))


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(files.canonical(record)).hexdigest()
