"""Whether nodes without a network find what they need on this machine's disk."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from sweeper.errors import BadInput
from sweeper.store import Spec


def check_offline(specs: Iterable[Spec]) -> None:
    """Refuse inputs that a node without network would look for in vain.

    Raises:
        BadInput: a model or a data set is not on this machine.
    """
    seen: set[tuple[str, str]] = set()
    for spec in specs:
        for role, at in spec.get("sources", {}).items():
            if (role, at) not in seen:
                seen.add((role, at))
                _check_source(role, str(at), spec)
        calibration = spec.get("params", {}).get("calibration") or {}
        if name := calibration.get("id"):
            _check_cached("calibration.dataset", str(name), "datasets")


def _check_source(role: str, at: str, spec: Spec) -> None:
    path = Path(at).expanduser()
    if path.exists():
        return
    if role != "model" or path.is_absolute():
        raise BadInput(role, at, "no such file or directory.", "Was it moved since the plan?")
    revision = spec.get("params", {}).get("model", {}).get("revision")
    _check_cached("model.id", at, "models", revision)


def _check_cached(key: str, name: str, kind: str, revision: str | None = None) -> None:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"{kind}--{name.replace('/', '--')}" / "snapshots"
    found = [path.name for path in folder.glob("*")] if folder.is_dir() else []
    pinned = revision if revision and re.fullmatch(r"[0-9a-f]{40}", revision) else None
    if not found or (pinned and pinned not in found):
        raise BadInput(
            key, name, "it is not on this machine, and the nodes are offline.",
            "Run `isorate prefetch` with the same arguments where there is a network.",
        )  # fmt: skip
