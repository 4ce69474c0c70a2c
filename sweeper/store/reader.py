"""Outputs by key as they lie on the disk: finding them, and noticing when one has changed."""

from __future__ import annotations

import logging
import os
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from sweeper.errors import DamagedOutput, IsorateError
from sweeper.store import files
from sweeper.store import manifest as manifests
from sweeper.store.spec import StageId

_LOOKS = 10

log = logging.getLogger(__name__)


def called(spec: StageId) -> str:
    """A stage in a message: "prune of wanda 50%"; by its key where it has no label."""
    return f"{spec['kind']} of {spec.get('label') or spec['key']}"


class Listing(NamedTuple):
    """The keys of one kind of stage that have an output, and those that failed."""

    done: frozenset[str]
    failed: frozenset[str]


class Outputs:
    """The reading side of the store of one home."""

    def __init__(self, home: Path) -> None:
        """Cheap: nothing is read or written before it is asked."""
        self.home = Path(home).resolve()
        self.root = self.home / "store"
        self.tmp = self.root / "tmp"
        self._verified: dict[Path, object] = {}

    def path(self, spec: StageId) -> Path:
        """Where the output of a stage is, or would be."""
        return self.root / str(spec["kind"]) / str(spec["key"])

    def is_done(self, spec: StageId) -> bool:
        """Whether the stage has been committed (its bulk may have been dropped since)."""
        return (self.path(spec) / manifests.NAME).is_file()

    def manifest(self, spec: StageId) -> manifests.Manifest | None:
        """The manifest of a committed stage, else None.

        Raises:
            DamagedOutput: it is no longer what was written.
        """
        try:
            return manifests.load(self.path(spec) / manifests.NAME)
        except FileNotFoundError:
            return None

    def result(self, spec: StageId) -> Any | None:
        """The result of a committed stage, else None.

        Raises:
            DamagedOutput: its bytes are not those that were recorded.
        """
        found = self.output(spec)
        return None if found is None else found[0]

    def output(self, spec: StageId) -> tuple[Any, manifests.Manifest] | None:
        """Result and manifest of a committed stage, each read once; else None.

        Raises:
            DamagedOutput: they are no longer what was written.
        """
        out = self.path(spec)
        try:
            found = manifests.load(out / manifests.NAME)
        except FileNotFoundError:
            return None
        return manifests.result(out, found), found

    def failure(self, spec: StageId) -> manifests.Failure | None:
        """Why the stage failed for good (error, message, traceback), else None."""
        try:
            found: manifests.Failure = files.read_json(self._failed(spec) / "failure.json")
        except FileNotFoundError:
            return None
        return None if self.is_done(spec) else found

    def has_bulk(self, spec: StageId) -> bool:
        """Whether a committed stage still has every bulk directory that it wrote."""
        found = self.manifest(spec)
        if found is None:
            return False
        return all((self.path(spec) / b).is_dir() for b in manifests.bulk(found["files"]))

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

    def _failed(self, spec: StageId) -> Path:
        return self.path(spec).with_name(f"{spec['key']}.failed")

    # --- integrity ---------------------------------------------------------------

    def verify(self, spec: StageId, *, full: bool = False) -> None:
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
        now = signature(out)
        full = full and self._verified.get(out) != now
        manifests.check(out, found, full=full)
        if full:
            self._verified[out] = now

    def present(self, spec: StageId, *, bulk: bool = False, full: bool = False) -> bool:
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
                log.warning(
                    "damaged output of %s: %s. Moved to %s; it is built again.",
                    called(spec),
                    damage,
                    aside,
                )
            return False

    def look_again(self, spec: StageId) -> None:
        """See what another host has committed a moment ago (see `files.look_again`)."""
        files.look_again(self.path(spec).parent)

    def set_aside(self, spec: StageId) -> Path | None:
        """Rename an output to ``<key>.damaged.<n>``; None if it is gone already."""
        out = self.path(spec)
        self._verified.pop(out, None)
        for n in count():
            target = out.with_name(f"{out.name}.damaged.{n}")
            if target.exists():
                continue
            try:
                return out.rename(target)
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno not in files.OCCUPIED:  # else somebody took that very number
                    raise
        raise AssertionError("unreachable")


def signature(out: Path) -> object:
    """What tells cheaply whether any file of an output was touched since."""
    for tries in count(1):
        try:
            return tuple((n, s.st_size, s.st_mtime_ns, s.st_ino) for n, s in files.walk(out))
        except FileNotFoundError as gone:  # its bulk is being dropped, or all of it set aside
            if tries == _LOOKS:
                raise DamagedOutput(f"{gone.filename} disappeared while it was read") from gone
        except IsorateError as link:
            raise DamagedOutput(str(link)) from link
    raise AssertionError("unreachable")
