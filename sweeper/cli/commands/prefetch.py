"""``isorate prefetch``: fetch and pin what the plan needs from the hub, and prove it offline."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isorate.pinning import program, search_path
from sweeper.cli.request import Request
from sweeper.errors import BadInput, IsorateError
from sweeper.inputs import hub_cache, pins
from sweeper.inputs.pins import Pins
from sweeper.inputs.resolve import NotFetched
from sweeper.planning import requirements
from sweeper.planning.builder import plan
from sweeper.planning.requirements import Need
from sweeper.results import formatting
from sweeper.worker.prefetch import title

_BARS = ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")

log = logging.getLogger(__name__)


def perform(request: Request) -> int:
    """Fetch, verify in a fresh process with the hub switched off, then record the revisions."""
    if hub_cache.is_offline():
        raise BadInput(
            "HF_HUB_OFFLINE",
            "1",
            "nothing can be fetched while the hub is switched off.",
            "Unset it, on a machine with a network.",
        )
    kept = Pins() if request.config.refresh else request.pins
    wanted, kept = _needs(request, kept)
    fetched = _fetch(wanted, kept)
    found = kept | fetched
    log.info("loading everything again with the hub switched off")
    _verify(wanted, found)
    about = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "overrides": list(request.arguments),
    }
    path = pins.write(request.sweep.path, found, about)
    request.answer(_document(request, found, path), _text(wanted, found, path))
    return 0


def _needs(request: Request, kept: Pins) -> tuple[list[Need], Pins]:
    """Of the plan; a model whose dimensions the plan needs is fetched first, and pinned."""
    while True:
        try:
            made = plan(request.config, request.loader, request.arguments, kept)
            return requirements.of(made), kept
        except NotFetched as lack:
            model = requirements.model(lack.name, lack.revision, lack.trust_remote_code)
            kept |= _fetch([model], kept)


def _fetch(wanted: Sequence[Need], kept: Pins) -> Pins:
    """Fetch what is not here yet; the revisions that it has."""
    found, sizes = Pins(), dict[int, int]()
    for event in _process(wanted, kept, offline=False):
        need = wanted[event["need"]]
        if event["event"] == "size":
            sizes[event["need"]] = event["bytes"]
            if event["bytes"]:
                log.info("to fetch: %s, %s", title(need), formatting.size(event["bytes"]))
            if len(sizes) == len(wanted):
                log.info("together about %s", formatting.size(sum(sizes.values())))
        elif event["event"] == "begin":
            log.info("[%d/%d] %s", event["need"] + 1, len(wanted), title(need))
        else:
            found |= _pinned(need, event["commits"])
            for name in event["newer"]:
                log.warning(
                    "%s has moved on the hub; this sweep stays with the revision that it pinned "
                    "(refresh=true takes the newest)",
                    name,
                )
    return found


def _verify(wanted: Sequence[Need], found: Pins) -> None:
    for event in _process(wanted, found, offline=True):
        need = wanted[event["need"]]
        if event["event"] == "done" and not _agrees(_pinned(need, event["commits"]), found):
            raise IsorateError(f"{title(need)} loads another revision offline than was fetched")


def _agrees(loaded: Pins, found: Pins) -> bool:
    return (found | loaded) == found


def _pinned(need: Need, commits: Mapping[str, str]) -> Pins:
    if need["kind"] == "task":
        return Pins(tasks={need["name"]: commits})
    commit = {f"{need['id']}@{need['revision']}": commits[need["id"]]}
    return Pins(models=commit) if need["kind"] == "model" else Pins(data=commit)


def _process(wanted: Sequence[Need], known: Pins, *, offline: bool) -> Iterator[dict[str, Any]]:
    """Events of a fresh process that fetches, or loads without the hub.

    Raises:
        IsorateError: it said why it cannot go on, or it died.
    """
    child = subprocess.Popen(
        program("sweeper.worker.prefetch"),
        env=_environment(offline),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        asked = {"needs": list(wanted), "pins": asdict(known), "free": _free()}
        with suppress(BrokenPipeError), child.stdin:  # it died: its status is told below
            child.stdin.write(json.dumps(asked))
        for line in child.stdout:
            event = json.loads(line)
            if event["event"] == "failed":
                raise IsorateError(event["message"])
            yield event
        if child.wait() != 0:
            raise IsorateError(f"the process that fetches ended with status {child.returncode}")
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _environment(offline: bool) -> dict[str, str]:
    """Ours, with bars of progress for people only, and the code that we run ourselves first."""
    quiet = offline or not sys.stderr.isatty()
    return {
        **os.environ,
        **(dict.fromkeys(hub_cache.OFFLINE, "1") if offline else {}),
        **(dict.fromkeys(_BARS, "1") if quiet else {}),
        "DATASETS_VERBOSITY": "error",  # offline it tells of each data set, twice, what it took
        "PYTHONPATH": search_path(),
    }


def _free() -> int:
    """Bytes that the disk of the hub's cache has left."""
    folder = hub_cache.hub()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _document(request: Request, found: Pins, path: Path) -> dict[str, Any]:
    return {"name": request.sweep.name, "record": str(path), **asdict(found)}


def _text(wanted: Sequence[Need], found: Pins, path: Path) -> str:
    rows = [(f"model {name}", commit[:12]) for name, commit in found.models.items()]
    rows += [(f"calibration text {name}", commit[:12]) for name, commit in found.data.items()]
    data = {pair for used in found.tasks.values() for pair in used.items()}
    rows += [(f"data set {name}", commit[:12]) for name, commit in sorted(data)]
    return "\n".join(
        [
            formatting.table(["from the hub", "commit"], rows)
            if rows
            else "Nothing comes from the hub.",
            f"{len(wanted)} inputs load with the hub switched off. Recorded in {path}",
            "`isorate run` with the same arguments now needs no network.",
        ]
    )
