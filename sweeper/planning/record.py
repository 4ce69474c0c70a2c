"""Plans as JSON: what a sweep's directory holds, and what is read back from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NotRequired, TypedDict, cast

from sweeper.store.spec import Spec, StageRecord


class CellConfig(TypedDict):
    """What a cell's stages were asked to do, by section of the configuration."""

    model: Mapping[str, Any]
    tasks: Mapping[str, Any]
    groups: NotRequired[Mapping[str, Sequence[str]]]
    calibration: NotRequired[Mapping[str, Any]]
    rescale: NotRequired[Mapping[str, Any]]
    rotate: NotRequired[Mapping[str, Any]]
    prune: NotRequired[Mapping[str, Any]]
    quantize: NotRequired[Mapping[str, Any]]


class CellStages(TypedDict, total=False):
    """Role -> key of the stage; an evaluation for each task."""

    prune: str
    quantize: str
    measure: str
    evaluate: Mapping[str, str]


class CellRecord(TypedDict):
    """A planned cell; see `sweeper.planning.plan.PlannedCell`.

    ``tcr``, ``sparsity`` are shares in [0, 1], ``scale_bits`` bits per linear weight of the dense
    model. ``earlier`` (cell key -> task -> evaluation), ``unscored`` and ``looks`` (task ->
    documents that were asked at other looks) come from `sweeper.planning.looks`; ``raced`` is the
    key of the cell in the plan without a race, of which this is a look.
    """

    key: str
    label: str
    model: str
    tcr: float
    sparsity: float
    pattern: str
    bits: float
    mask: str
    prune_method: str
    quant_method: str
    calibration_seed: int | None
    rerun: int
    scale_bits: float | None
    config: CellConfig
    stages: NotRequired[CellStages]
    origin: NotRequired[str]
    former: NotRequired[Sequence[str]]
    earlier: NotRequired[Mapping[str, Mapping[str, str]]]
    unscored: NotRequired[Sequence[str]]
    looks: NotRequired[Mapping[str, Sequence[int]]]
    raced: NotRequired[str]


def makers(cell: CellRecord) -> dict[str, str]:
    """Role -> key of the stages that make and measure the cell's checkpoint."""
    return {role: cast(str, key) for role, key in cell["stages"].items() if role != "evaluate"}


def own_keys(cell: CellRecord) -> Iterator[str]:
    """Keys of all stages that the cell names itself, without what those rest on."""
    yield from makers(cell).values()
    yield from cell["stages"].get("evaluate", {}).values()


class PlanBody(TypedDict):
    """What a plan is, whatever it is called; the name of its file is a hash of this."""

    cells: Sequence[CellRecord]
    stages: Mapping[str, StageRecord]


class _Head(TypedDict):
    name: str
    home: NotRequired[str]
    created: str
    overrides: Sequence[str]
    checkpoints: str
    cells: Sequence[CellRecord]


class PlanRecord(_Head):
    """One recorded plan, ``plan-<hash>.json``."""

    stages: Mapping[str, StageRecord]


class LoadedPlan(_Head):
    """One recorded plan, with each stage's parents inside it."""

    stages: Mapping[str, Spec]


class SweepRecord(LoadedPlan):
    """All plans of a name as one.

    ``superseded`` has the keys of cells that others stand in for, ``launcher`` the words that
    chose another launcher than the default one.
    """

    superseded: Sequence[str]
    launcher: Sequence[str]
