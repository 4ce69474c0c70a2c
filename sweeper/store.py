"""The outputs of stages by key: written once, whole or not at all, without any lock.

    <home>/store/<kind>/<key>/              manifest.json, result.json, records, bulk directories
    <home>/store/<kind>/<key>.failed/       failure.json: the cell itself is at fault
    <home>/store/<kind>/<key>.damaged.<n>/  an output that had changed, moved aside
    <home>/store/tmp/<key>.<host>.<pid>.<random>/   one attempt at work
    <home>/store/scratch/<key>/             what a killed attempt leaves to its successor

An attempt works in ``tmp`` and becomes visible by one rename. If two attempts of a
stage overlap, the first to rename wins and the other is discarded.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sweeper import contents, files, owner
from sweeper.errors import BadInput, DamagedOutput, IsorateError

Spec = Mapping[str, Any]
"""A stage as JSON: kind, key, params, parents (role -> spec), library, format, sources."""

_SILENT_S = 3600.0

log = logging.getLogger(__name__)


class Listing(NamedTuple):
    """The keys of one kind of stage that have an output, and those that failed."""

    done: frozenset[str]
    failed: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One execution of one stage: its id and its own directory in ``tmp``."""

    spec: Spec
    id: str
    out: Path


class Store:
    """The store of one home."""

    def __init__(self, home: Path) -> None:
        """Cheap: nothing is read or written before it is asked."""
        self.home = Path(home).resolve()
        self.root = self.home / "store"
        self.tmp = self.root / "tmp"
        self._verified: dict[Path, object] = {}

    # --- reading -----------------------------------------------------------------

    def path(self, spec: Spec) -> Path:
        """Where the output of a stage is, or would be."""
        return self.root / str(spec["kind"]) / str(spec["key"])

    def is_done(self, spec: Spec) -> bool:
        """Whether the stage has been committed (its bulk may have been dropped since)."""
        return (self.path(spec) / contents.NAME).is_file()

    def manifest(self, spec: Spec) -> dict[str, Any] | None:
        """The manifest of a committed stage, else None.

        Raises:
            DamagedOutput: it is no longer what was written.
        """
        try:
            return contents.load(self.path(spec) / contents.NAME)
        except FileNotFoundError:
            return None

    def result(self, spec: Spec) -> Any | None:
        """The result of a committed stage, else None.

        Raises:
            DamagedOutput: its bytes are not those that were recorded.
        """
        found = self.manifest(spec)
        if found is None:
            return None
        path = self.path(spec) / contents.RESULT
        contents.check_file(path, found["files"][contents.RESULT])
        return files.read_json(path)

    def failure(self, spec: Spec) -> dict[str, Any] | None:
        """Why the stage failed for good (error, message, traceback), else None."""
        try:
            found: dict[str, Any] = files.read_json(self._failed(spec) / "failure.json")
        except FileNotFoundError:
            return None
        return None if self.is_done(spec) else found

    def has_bulk(self, spec: Spec) -> bool:
        """Whether a committed stage still has every bulk directory that it wrote."""
        found = self.manifest(spec)
        if found is None:
            return False
        return all((self.path(spec) / b).is_dir() for b in contents.bulk(found["files"]))

    def listing(self, kind: str) -> Listing:
        """All keys of a kind by state, from a single directory listing."""
        try:
            names = os.listdir(self.root / kind)
        except FileNotFoundError:
            names = []
        done = frozenset(n for n in names if "." not in n)
        failed = frozenset(n.removesuffix(".failed") for n in names if n.endswith(".failed"))
        return Listing(done, failed - done)

    def scan(self, kind: str) -> frozenset[str]:
        """The keys of a kind that are done, from a single directory listing."""
        return self.listing(kind).done

    def running(self) -> dict[str, str]:
        """Key of every stage that is at work now -> the host it runs on.

        Elsewhere than on this host, an attempt counts for an hour after its last sign.
        """
        found = {}
        for path in _entries(self.tmp):
            key, *rest = path.name.split(".")
            if len(rest) == 3 and not owner.is_dead(path, _SILENT_S):
                found[key] = rest[0].rpartition("-")[0] or rest[0]
        return found

    # --- integrity ---------------------------------------------------------------

    def verify(self, spec: Spec, *, full: bool = False) -> None:
        """Compare an output with its manifest: all sizes, or with ``full`` all hashes.

        Files that this process has hashed before and whose size and times are the same
        since are not hashed again.

        Raises:
            DamagedOutput: naming the file.
        """
        out = self.path(spec)
        found = self.manifest(spec)
        if found is None:
            raise DamagedOutput(f"{out} has no manifest")
        signature = _signature(out)
        full = full and self._verified.get(out) != signature
        contents.check(out, found, full=full)
        if full:
            self._verified[out] = signature

    def present(self, spec: Spec, *, bulk: bool = False, full: bool = False) -> bool:
        """Whether the output is here and sound (with ``bulk``: undropped too).

        A damaged output is moved aside and said in the log: to the caller it is absent.
        """
        out = self.path(spec)
        if not out.is_dir():
            return False
        try:
            self.verify(spec, full=full)
            return self.has_bulk(spec) or not bulk
        except DamagedOutput as damage:
            if aside := self.set_aside(spec):
                log.warning("damaged output: %s. Moved to %s; it is built again.", damage, aside)
            return False

    def set_aside(self, spec: Spec) -> Path | None:
        """Rename an output to ``<key>.damaged.<n>``; None if it is gone already."""
        out = self.path(spec)
        self._verified.pop(out, None)
        for n in range(1_000_000):
            target = out.with_name(f"{out.name}.damaged.{n}")
            if not target.exists():
                with suppress(FileNotFoundError):
                    out.rename(target)
                    return target
                return None
        raise AssertionError("unreachable")

    # --- writing -----------------------------------------------------------------

    @contextmanager
    def attempt(self, spec: Spec) -> Iterator[Attempt]:
        """A directory of its own for one execution; whatever is not committed is deleted."""
        id_ = owner.new_id()
        out = self.tmp / f"{spec['key']}.{id_}"
        out.mkdir(parents=True)
        try:
            yield Attempt(spec=spec, id=id_, out=out)
        finally:
            files.remove(out)

    def scratch(self, spec: Spec) -> Path:
        """The directory that outlives a killed attempt of this stage; made if absent."""
        path = self.root / "scratch" / str(spec["key"])
        path.mkdir(parents=True, exist_ok=True)
        return path

    def commit(self, attempt: Attempt, result: Any, facts: Mapping[str, Any]) -> bool:
        """Make an attempt's output the stage's output.

        ``facts`` (device, times, versions ...) go into the manifest. If the stage is
        already there, only bulk directories that were dropped are taken over.

        Returns:
            True if this attempt's files are (in part) the stage's output now.
        """
        spec, out, target = attempt.spec, attempt.out, self.path(attempt.spec)
        files.write_json(out / contents.RESULT, result)
        written = contents.listing(out)
        described = _describe(attempt, written, facts)
        files.flush_tree(out)
        files.write_json(out / contents.NAME, contents.seal(described))
        files.flush_directory(out)
        target.parent.mkdir(parents=True, exist_ok=True)
        taken = self._place(out, target) or self._restore(attempt, written)
        self._verified[target] = _signature(target)
        files.remove(self.root / "scratch" / spec["key"])
        return taken

    def fail(self, attempt: Attempt, failure: Mapping[str, Any]) -> None:
        """Record that the cell itself is at fault; the first record stays."""
        out, target = attempt.out, self._failed(attempt.spec)
        files.remove(out)
        out.mkdir()
        files.write_json(out / "failure.json", {**failure, "attempt": attempt.id})
        target.parent.mkdir(parents=True, exist_ok=True)
        self._place(out, target)

    def clear_failure(self, spec: Spec) -> bool:
        """Forget a failure so that the stage is tried again; False if there was none."""
        return self._delete(self._failed(spec))

    def drop_bulk(self, spec: Spec) -> int:
        """Delete the bulk directories of a committed stage; records and result stay.

        Returns:
            The bytes that were freed.
        """
        found = self.manifest(spec)
        freed = 0
        for directory in contents.bulk(found["files"]) if found else ():
            path = self.path(spec) / directory
            size = sum(s.st_size for _, s in files.walk(path)) if path.is_dir() else 0
            freed += size if self._delete(path) else 0
        return freed

    def _place(self, out: Path, target: Path) -> bool:
        """Rename ``out`` to ``target`` unless something is there."""
        if target.exists():
            return False
        try:
            out.rename(target)
        except OSError:
            # Another attempt came first. Anything else (no space, no permission) is real.
            if target.exists():
                return False
            raise
        files.flush_directory(target.parent)
        return True

    def _restore(self, attempt: Attempt, written: contents.Listing) -> bool:
        """Take over the bulk directories that the committed output no longer has."""
        target = self.path(attempt.spec)
        recorded = contents.load(target / contents.NAME)["files"]
        missing = [b for b in sorted(contents.bulk(written)) if not (target / b).exists()]
        known = [recorded, *(r["files"] for r in contents.rebuilds(target))]
        for directory in missing:
            rebuilt = contents.part(written, directory)
            if all(rebuilt != contents.part(k, directory) for k in known):
                self._record_rebuild(attempt, directory, rebuilt)
            self._place(attempt.out / directory, target / directory)
        return bool(missing)

    def _record_rebuild(self, attempt: Attempt, directory: str, part: contents.Listing) -> None:
        """One file per writer, placed before the bytes that it vouches for."""
        record = {"key": attempt.spec["key"], "attempt": attempt.id, "files": dict(part)}
        name = f"{contents.REBUILD}{directory}-{attempt.id}.json"
        files.write_json(attempt.out / name, contents.seal(record))
        (attempt.out / name).rename(self.path(attempt.spec) / name)
        log.warning(
            "%s of %s %s was dropped and is built again with other bytes than recorded: "
            "kept in %s; scores taken before and after may differ",
            directory, attempt.spec["kind"], attempt.spec["key"], name,
        )  # fmt: skip

    def _failed(self, spec: Spec) -> Path:
        return self.path(spec).with_name(f"{spec['key']}.failed")

    def _delete(self, path: Path) -> bool:
        """Rename aside, then delete: nobody sees a half-deleted directory."""
        aside = self.tmp / f"{path.name}.{owner.new_id()}"
        self.tmp.mkdir(parents=True, exist_ok=True)
        try:
            path.rename(aside)
        except FileNotFoundError:
            return False
        files.remove(aside)
        return True

    # --- housekeeping ------------------------------------------------------------

    def check(self, need_bytes: int = 0) -> None:
        """Refuse a home that cannot be written, or with less than ``need_bytes`` free.

        Raises:
            BadInput: key "home".
        """
        probe = self.tmp / f"probe.{owner.new_id()}"
        try:
            self.tmp.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"\0" * 65536)
            free = os.statvfs(self.tmp)
        except OSError as error:
            raise BadInput(
                "home", self.home, f"it cannot be written ({error.strerror}).",
                "Name a directory on a disk with room that you may write: home=/path",
            ) from error  # fmt: skip
        finally:
            with suppress(OSError):
                probe.unlink()
        if free.f_bavail * free.f_frsize < need_bytes:
            raise BadInput(
                "home", self.home,
                f"{need_bytes / 1e9:.1f} GB are needed, "
                f"{free.f_bavail * free.f_frsize / 1e9:.1f} GB are free.",
                "Free some, or use checkpoints=drop, or name another directory: home=/path",
            )  # fmt: skip

    def gc(self, *, older_than_s: float = 7 * 86400.0, damaged: bool = False) -> list[Path]:
        """Delete what dead attempts left behind, and with ``damaged`` what was set aside.

        An attempt is dead if its process on this very host is gone, or if nothing below
        its directory has changed for ``older_than_s``. Links are not followed.

        Returns:
            What was deleted.
        """
        found = [p for p in _entries(self.tmp) if owner.is_dead(p, older_than_s)]
        kinds = [p for p in _entries(self.root) if p.name not in ("tmp", "scratch")]
        done = {key for kind in kinds for key in self.scan(kind.name)}
        found += [
            p for p in _entries(self.root / "scratch")
            if p.name in done or owner.age_s(p) > older_than_s
        ]  # fmt: skip
        if damaged:
            found += [p for kind in kinds for p in _entries(kind) if ".damaged." in p.name]
        for path in found:
            files.remove(path)
        return found


def _entries(directory: Path) -> list[Path]:
    """What lies in a directory; nothing if it is absent or a link that leaves the home."""
    if directory.is_symlink() or not directory.is_dir():
        return []
    return sorted(directory.iterdir())


def _signature(out: Path) -> object:
    try:
        return tuple((n, s.st_size, s.st_mtime_ns, s.st_ino) for n, s in files.walk(out))
    except FileNotFoundError as gone:
        raise DamagedOutput(f"{gone.filename} disappeared while it was read") from gone
    except IsorateError as link:
        raise DamagedOutput(str(link)) from link


def _describe(attempt: Attempt, written: contents.Listing, facts: Spec) -> dict[str, Any]:
    spec = attempt.spec
    return {
        **facts,
        "kind": spec["kind"],
        "key": spec["key"],
        "label": spec.get("label", ""),
        "params": spec.get("params", {}),
        "library": spec.get("library", {}),
        "format": spec.get("format", 1),
        "parents": {role: parent["key"] for role, parent in spec.get("parents", {}).items()},
        "attempt": attempt.id,
        "files": dict(written),
    }
