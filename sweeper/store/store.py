"""The outputs of stages by key: written once, whole or not at all, without any lock.

    <home>/store/<kind>/<key>/              manifest.json, result.json, records, bulk directories
    <home>/store/<kind>/<key>.failed/       failure.json: the cell itself is at fault
    <home>/store/<kind>/<key>.damaged.<n>/  an output that had changed, moved aside
    <home>/store/tmp/<key>.<host>.<pid>.<random>/   one attempt at work
    <home>/store/scratch/<key>/             what a killed attempt leaves to its successor
    <home>/store/kin/<family>/<key>         empty: this stage did the same work on other documents

An attempt works in ``tmp`` and becomes visible by one rename. If two attempts of a
stage overlap, the first to rename wins and the other is discarded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.errors import IsorateError
from sweeper.store import files, garbage, manifest, process_id
from sweeper.store.progress import Headway
from sweeper.store.reader import Outputs, called, signature
from sweeper.store.spec import Spec, StageId

__all__ = ["Attempt", "Spec", "Store"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One execution of one stage.

    Attributes:
        spec: the stage.
        id: the attempt's own.
        place: its directory in ``tmp``; holds what it says of its headway, and `out`.
        out: what becomes the stage's output.
    """

    spec: Spec
    id: str
    place: Path
    out: Path


class Store(Outputs):
    """The store of one home: what is read (see `Outputs`), written and cleaned up."""

    @contextmanager
    def attempt(self, spec: Spec) -> Iterator[Attempt]:
        """A directory of its own for one execution; whatever is not committed is deleted."""
        id_ = process_id.new_id()
        place = self.tmp / f"{spec['key']}.{id_}"
        out = place / "out"
        out.mkdir(parents=True)
        try:
            yield Attempt(spec=spec, id=id_, place=place, out=out)
        finally:
            files.remove(place)

    def scratch(self, spec: Spec) -> Path:
        """The directory that outlives a killed attempt of this stage; made if absent."""
        path = self.root / "scratch" / str(spec["key"])
        path.mkdir(parents=True, exist_ok=True)
        return path

    def kin(self, spec: Spec) -> list[Path]:
        """Sound outputs of the other stages of its family, in the order of their keys.

        A stage says its family itself (``spec["family"]``): the hash of what it means but
        for the share of the documents. Names that lead nowhere are passed over.
        """
        if not spec.get("family"):
            return []
        names = [path.name for path in garbage.entries(self._family(spec))]
        others: list[Spec] = [{**spec, "key": name} for name in names if name != spec["key"]]
        return [self.path(other) for other in others if self.present(other, full=True)]

    def _family(self, spec: Spec) -> Path:
        return self.root / "kin" / str(spec["family"])

    def commit(self, attempt: Attempt, result: Any, facts: manifest.Facts) -> bool:
        """Make an attempt's output the stage's output.

        ``facts`` (device, times, versions ...) go into the manifest. If the stage is
        already there, only bulk directories that were dropped are taken over.

        Returns:
            True if this attempt's files are (in part) the stage's output now.
        """
        spec, out, target = attempt.spec, attempt.out, self.path(attempt.spec)
        files.write_json(out / manifest.RESULT, result)
        written = manifest.listing(out)
        files.follow_umask(out)
        described = _describe(attempt, written, facts)
        files.flush_tree(out)
        files.write_json(out / manifest.NAME, manifest.seal(described))
        files.flush_directory(out)
        if spec.get("family"):
            self._family(spec).mkdir(parents=True, exist_ok=True)
            (self._family(spec) / str(spec["key"])).touch()
        target.parent.mkdir(parents=True, exist_ok=True)
        taken = self._place(out, target)
        if not taken:
            self.look_again(spec)
            taken = self._restore(attempt, written)
        self._verified[target] = signature(target)
        files.remove(self.root / "scratch" / spec["key"])
        return taken

    def fail(self, attempt: Attempt, failure: manifest.Failure) -> None:
        """Record that the cell itself is at fault; the first record stays."""
        out, target = attempt.out, self._failed(attempt.spec)
        files.remove(out)
        out.mkdir()
        files.write_json(out / "failure.json", {**failure, "attempt": attempt.id})
        target.parent.mkdir(parents=True, exist_ok=True)
        self._place(out, target)

    def clear_failure(self, spec: StageId) -> bool:
        """Forget a failure so that the stage is tried again; False if there was none."""
        return self._delete(self._failed(spec))

    def drop_bulk(self, spec: StageId) -> int:
        """Delete the bulk directories of a committed stage; records and result stay.

        Returns:
            The bytes that were freed.
        """
        found = self.manifest(spec)
        freed = 0
        for directory in manifest.bulk(found["files"]) if found else ():
            path = self.path(spec) / directory
            size = files.size(path)
            freed += size if self._delete(path) else 0
        return freed

    def bulk_bytes(self, spec: StageId) -> int:
        """The bytes that `drop_bulk` would free."""
        found = self.manifest(spec)
        directories = manifest.bulk(found["files"]) if found else ()
        return sum(files.size(self.path(spec) / directory) for directory in directories)

    def _place(self, out: Path, target: Path) -> bool:
        """Rename ``out`` to ``target`` unless something is there."""
        if target.exists():
            return False
        try:
            out.rename(target)
        except OSError as error:
            # Another attempt came first, even if this host does not see it yet.
            # Anything else (no space, no permission) is real.
            if error.errno in files.OCCUPIED or target.exists():
                return False
            raise
        files.flush_directory(target.parent)
        return True

    def _restore(self, attempt: Attempt, written: manifest.Listing) -> bool:
        """Take over the bulk directories that the committed output no longer has."""
        target = self.path(attempt.spec)
        recorded = manifest.load(target / manifest.NAME)["files"]
        missing = [b for b in sorted(manifest.bulk(written)) if not (target / b).exists()]
        known = [recorded, *(r["files"] for r in manifest.rebuilds(target))]
        for directory in missing:
            rebuilt = manifest.part(written, directory)
            if all(rebuilt != manifest.part(k, directory) for k in known):
                self._record_rebuild(attempt, directory, rebuilt)
            self._place(attempt.out / directory, target / directory)
        return bool(missing)

    def _record_rebuild(self, attempt: Attempt, directory: str, part: manifest.Listing) -> None:
        """One file per writer, placed before the bytes that it vouches for."""
        record: manifest.Rebuild = {
            "key": attempt.spec["key"],
            "attempt": attempt.id,
            "files": dict(part),
        }
        name = f"{manifest.REBUILD}{directory}-{attempt.id}.json"
        files.write_json(attempt.out / name, manifest.seal(record))
        (attempt.out / name).rename(self.path(attempt.spec) / name)
        log.warning(
            "%s of the %s was dropped and is built again with other bytes than recorded: "
            "kept in %s; scores taken before and after may differ",
            directory,
            called(attempt.spec),
            name,
        )

    def _delete(self, path: Path) -> bool:
        """Rename aside, then delete: nobody sees (or commits) a half-deleted directory.

        Raises:
            IsorateError: a link leads from the store to where this is.
        """
        if path.parent != path.parent.resolve():
            raise IsorateError(f"{path} lies behind a link: it is not deleted")
        aside = self.tmp / f"{path.name}.{process_id.new_id()}"
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
        garbage.check_home(self.home, self.tmp, need_bytes)

    def running(self) -> dict[str, Headway]:
        """Key of every stage that is at work now -> where, and how far it is."""
        return garbage.at_work(self.tmp)

    def leftovers(
        self, *, older_than_s: float = garbage.ABANDONED_S, damaged: bool = False
    ) -> list[Path]:
        """What `gc` would delete; see `garbage.leftovers`."""
        return garbage.leftovers(self.root, older_than_s, damaged=damaged)

    def gc(self, *, older_than_s: float = garbage.ABANDONED_S, damaged: bool = False) -> list[Path]:
        """Delete the `leftovers`; returns what was deleted."""
        found = self.leftovers(older_than_s=older_than_s, damaged=damaged)
        return [path for path in found if self._delete(path)]


def _describe(
    attempt: Attempt, written: manifest.Listing, facts: manifest.Facts
) -> manifest.Manifest:
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
