"""A stage as JSON: what is hashed, handed to workers and written into plans and manifests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict


class StageId(TypedDict):
    """What finds a stage's output in the store."""

    kind: str
    key: str


class _Described(StageId):
    params: Mapping[str, Any]
    library: Mapping[str, str]
    format: int
    sources: Mapping[str, str]
    label: str
    work: float
    bulk_bytes: float
    family: NotRequired[str]
    kernels: NotRequired[str]
    estimate_s: NotRequired[float]


class StageRecord(_Described):
    """A stage in a recorded plan: its parents by key; see `sweeper.planning.plan.Stage`."""

    parents: Mapping[str, str]


class Spec(_Described):
    """A stage with its parents inside: enough to build it anywhere."""

    parents: Mapping[str, Spec]
