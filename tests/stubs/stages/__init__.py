"""Stages that cost nothing, for tests of what surrounds them: `spec` makes one."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any


def spec(
    kind: str = "make", /, label: str = "", estimate_s: float = 1.0, **params: Any
) -> dict[str, Any]:
    """A stage of this package; keyword ``parents`` (role -> spec) and ``sources`` are split off."""
    parents = params.pop("parents", {})
    sources = params.pop("sources", {})
    meaning = [kind, params, {role: parent["key"] for role, parent in parents.items()}]
    key = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:24]
    return {
        "kind": kind,
        "key": key,
        "params": params,
        "parents": parents,
        "library": {},
        "format": 1,
        "sources": sources,
        "label": label or key[:6],
        "estimate_s": estimate_s,
    }


def count(journal: str | Path | None, word: str) -> None:
    """Leave one file per execution in the directory ``journal``: a count that survives kills."""
    if journal:
        folder = Path(journal)
        folder.mkdir(parents=True, exist_ok=True)
        n = len(list(folder.iterdir()))
        # Two executions may count at the same moment: each leaves a file of its own.
        (folder / f"{word}.{n}.{os.getpid()}-{secrets.token_hex(4)}").touch()
