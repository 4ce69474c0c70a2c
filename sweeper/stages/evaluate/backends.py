"""The backends that put requests to a model, under one roof."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeper.errors import StageFailure, one_of
from sweeper.stages.evaluate import hf_backend, vllm_backend

_LOAD = {"hf": hf_backend.lm, "vllm": vllm_backend.lm}
_PACKAGES: Mapping[str, tuple[str, ...]] = {"hf": (), "vllm": ("vllm",)}


def load(checkpoint: Path, device: str, params: Mapping[str, Any]) -> Any:
    """A model of `sweeper.stages.evaluate.requests.LM`, ready to be asked.

    Raises:
        StageFailure: there is no such backend.
    """
    if params["backend"] not in _LOAD:
        raise StageFailure(f"tasks.backend={params['backend']}: {one_of(list(_LOAD))}")
    return _LOAD[params["backend"]](checkpoint, device, params)


def packages(backend: str) -> tuple[str, ...]:
    """Distributions whose version is recorded beside a backend's scores."""
    return _PACKAGES.get(backend, ())
