"""Where a stage's inputs from outside the store lie on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeper.errors import BadInput
from sweeper.inputs import hub_cache
from sweeper.modeling import directory, integrity

# Copies of the same weights in formats that transformers does not load.
UNUSED = ("original/*", "consolidated*", "*.pth", "*.gguf", "onnx/*", "*.onnx", "*.msgpack")


def resolve(spec: Mapping[str, Any]) -> dict[str, Path]:
    """Role -> local path for the ``sources`` of a stage.

    A path is taken as it is. A model may also be a hub id: then it is the snapshot of
    the revision that the stage's parameters name, from the cache or (unless
    ``HF_HUB_OFFLINE`` is set) the hub.

    Raises:
        BadInput: neither a path nor a model id.
    """
    return {role: _one(role, str(at), spec) for role, at in spec.get("sources", {}).items()}


def _one(role: str, at: str, spec: Mapping[str, Any]) -> Path:
    path = Path(at).expanduser()
    if path.exists():
        return path.resolve()
    if role != "model" or path.is_absolute():
        raise BadInput(role, at, "no such file or directory.", "Was it moved since the plan?")
    return snapshot(at, spec.get("params", {}).get("model", {}).get("revision"))


def snapshot(model_id: str, revision: str | None = None) -> Path:
    """The local directory of a hub model, downloaded if it has to be and may be.

    What is here as a whole is taken as it is: of a snapshot that a library fetched file by file
    the hub's own code does not know that, and would ask the hub again.
    """
    from huggingface_hub import snapshot_download

    here = hub_cache.snapshot("models", model_id, revision)
    if here and (hub_cache.is_commit(revision) or hub_cache.is_offline()) and _is_whole(here):
        return here

    found = snapshot_download(model_id, revision=revision, ignore_patterns=list(UNUSED))
    return Path(found)


def _is_whole(folder: Path) -> bool:
    there = (folder / directory.CONFIG).is_file() and directory.tokenizer(folder)
    return bool(there and directory.weights(folder)) and integrity.trouble(folder) is None
