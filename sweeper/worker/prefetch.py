"""Fetches what a plan needs from the hub, or proves that it can be loaded without: a process.

    in    {"needs": [...], "pins": {"models", "data", "tasks"}, "free": bytes or null}
    out   {"event": "size", "need": index, "bytes"}
          {"event": "begin", "need": index}
          {"event": "done", "need": index, "commits": {hub id: commit}, "newer": [hub id, ...]}
          {"event": "failed", "key", "value", "message"}

With the hub switched off (``HF_HUB_OFFLINE``) nothing is measured or fetched: each need is
loaded from what is here, at the pinned revisions.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sweeper.errors import IsorateError
from sweeper.inputs import access, hub_api, hub_cache, sources
from sweeper.inputs.pins import Pins
from sweeper.inputs.tasks import dependencies, index
from sweeper.planning.requirements import Need
from sweeper.redaction import log_to_stderr, redact

Emit = Callable[[dict[str, Any]], None]
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def main() -> None:
    """Serve one request."""
    request = json.load(sys.stdin)
    emit = _take_over_stdout()
    log_to_stderr(logging.ERROR)
    pins = Pins(**request["pins"])
    work = Work(pins)
    need: Mapping[str, Any] = {}
    try:
        if not hub_cache.is_offline():
            sizes = []
            for number, need in enumerate(request["needs"]):
                sizes.append(work.size(need))
                emit({"event": "size", "need": number, "bytes": sizes[-1]})
            _check_room(sum(sizes), request["free"])
        for number, need in enumerate(request["needs"]):
            emit({"event": "begin", "need": number})
            emit({"event": "done", "need": number, **work.load(need)})
    except Exception as error:
        emit({"event": "failed", **_explained(need, error)})


def _take_over_stdout() -> Emit:
    """Libraries print what they like, to stderr; stdout is ours."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def emit(event: dict[str, Any]) -> None:
        print(json.dumps(event), file=events, flush=True)

    return emit


def _check_room(needed: int, free: int | None) -> None:
    if free is not None and needed > free:
        raise OSError(errno.ENOSPC, f"{needed} bytes are needed and {free} are free")


def _explained(need: Mapping[str, Any], error: Exception) -> dict[str, str]:
    """Key, value and message of a failure, for a person; never a secret."""
    key, value = _key(need)
    refusal = access.refused(key, value, error)
    if refusal is not None or isinstance(error, IsorateError):
        message = str(refusal or error)
    elif (space := next((e for e in access.chain(error) if _is_full(e)), None)) is not None:
        message = (
            f"no space left on the disk of {hub_cache.hub()} while fetching "
            f"{title(dict(need))} ({space}): free some, or set HF_HOME to a larger disk, "
            "and run again; what is there whole is kept, the rest is not used"
        )
    elif isinstance(error, ModuleNotFoundError) and error.name:
        how = dependencies.install(error.name.partition(".")[0])
        message = f"{key}={value}: needs the package {error.name}. Install it: {how}"
    else:
        message = f"{key}={value}: {type(error).__name__}: {error}"
    return {"key": key, "value": value, "message": redact(message)}


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _NO_SPACE


def _key(need: Mapping[str, Any]) -> tuple[str, str]:
    if not need:
        return "plan", ""
    keys = {"model": "model.id", "text": "calibration.dataset", "task": "tasks.names"}
    return keys[need["kind"]], str(need.get("id") or need["name"])


class Work:
    """Loads one need after the other; every hub id is resolved to a commit once."""

    def __init__(self, pins: Pins) -> None:
        self._pins = pins
        self._commits: dict[tuple[str, str, str], str] = {}
        self._newer: set[str] = set()
        self._counted: set[Path] = set()
        self._models: dict[str, Path] = {}

    def size(self, need: Mapping[str, Any]) -> int:
        """Bytes that are still to be downloaded for it, as far as its files tell."""
        if need["kind"] == "model":
            commit = self._model_commit(need["id"], need["revision"])
            return hub_api.model_bytes(need["id"], commit)
        if need["kind"] == "text":
            commit = self._data_commit(need["id"], need["revision"])
            options = {"name": need["subset"], "data_files": need["data_files"]}
            return self._data_bytes(need["id"], commit, options)
        reads = need["data"]
        if reads is None:
            return 0
        pinned = self._pins.tasks.get(need["name"], {}).get(reads["id"])
        commit = self._commit("datasets", reads["id"], reads["revision"], pinned)
        return self._data_bytes(reads["id"], commit, reads["options"])

    def _data_bytes(self, name: str, commit: str, options: Mapping[str, Any]) -> int:
        """Zero if another need has counted it already."""
        at = hub_cache.prepared(name, commit, options)
        if at in self._counted:
            return 0
        self._counted.add(at)
        return hub_api.data_bytes(name, commit, options)

    def load(self, need: Mapping[str, Any]) -> dict[str, Any]:
        """Fetch what is not here yet, load it; commits by hub id, and those that moved."""
        self._newer.clear()
        commits = getattr(self, f"_{need['kind']}")(need)
        return {"commits": commits, "newer": sorted(self._newer)}

    def _model(self, need: Mapping[str, Any]) -> dict[str, str]:
        commit = self._model_commit(need["id"], need["revision"])
        folder = sources.snapshot(need["id"], commit)
        hub_api.check_model(folder, trust_remote_code=need["trust"])
        self._models[need["id"]] = folder
        return {need["id"]: commit}

    def _text(self, need: Mapping[str, Any]) -> dict[str, str]:
        commit = self._data_commit(need["id"], need["revision"])
        hub_api.check_text(need, commit)
        return {need["id"]: commit}

    def _task(self, need: Mapping[str, Any]) -> dict[str, str]:
        from sweeper.stages.evaluate import task_check

        known = dict(self._pins.tasks.get(need["name"], {}))

        def find(path: str, revision: str | None) -> str | None:
            if Path(path).exists() or path.count("/") > 1 or path in index.FORMATS:
                return None
            return self._commit("datasets", path, revision or "main", known.get(path))

        model = self._models.get(need["model"], Path(need["model"]))
        folder = Path(need["folder"]) if need["folder"] else None
        return task_check.load(need["name"], folder, model, find)

    def _model_commit(self, name: str, revision: str) -> str:
        return self._commit("models", name, revision, self._pins.model(name, revision))

    def _data_commit(self, name: str, revision: str) -> str:
        return self._commit("datasets", name, revision, self._pins.dataset(name, revision))

    def _commit(self, kind: str, name: str, revision: str, pinned: str | None) -> str:
        """The pinned commit, else what the revision means now; a hub that moved on is noted."""
        at = (kind, name, revision)
        if at not in self._commits:
            offline = hub_cache.is_offline()
            now = pinned if offline else hub_api.commit(kind, name, revision)
            if now is None:
                raise IsorateError(f"{name}: no revision of it was pinned")
            self._commits[at] = now
        if pinned and pinned != self._commits[at]:
            self._newer.add(name)
        return pinned or self._commits[at]


if __name__ == "__main__":
    main()


def title(need: Need) -> str:
    """What a person calls it."""
    kind = {"model": "model", "text": "calibration text", "task": "task"}[need["kind"]]
    return f"{kind} {need.get('id') or need['name']}"
