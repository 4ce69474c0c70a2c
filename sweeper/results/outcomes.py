"""What became of every planned cell: the recorded plan and the store, joined.

Pure reading: nothing is computed, started or written here, and no cell of the plan is
left out; one without results says what it still lacks.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from sweeper.errors import DamagedOutput
from sweeper.modeling import kernels
from sweeper.planning.record import CellRecord, SweepRecord, own_keys
from sweeper.store.manifest import Facts, Failure, Manifest
from sweeper.store.spec import Spec, StageId

Json = Mapping[str, Any]

DOCUMENTS = "documents.parquet"
LAYER_ERRORS = "layer_errors.json"
ROLES = (
    "convert",
    "rescale",
    "rotate",
    "sensitivity",
    "prune",
    "quantize",
    "measure",
    "evaluate",
)


class Reads(Protocol):
    """The part of the store that is read; each answer is None when there is nothing."""

    def output(self, spec: StageId) -> tuple[Any, Manifest] | None:
        """``result.json`` and ``manifest.json`` of a committed stage.

        `DamagedOutput` if they have changed.
        """
        ...

    def failure(self, spec: StageId) -> Failure | None:
        """The ``failure.json`` of a stage whose cell is at fault."""
        ...

    def path(self, spec: StageId) -> Path:
        """Where the output of a stage is."""
        ...


@dataclass(frozen=True, kw_only=True)
class StageOutcome:
    """One stage of a cell as the store knows it.

    Attributes:
        task: the task that an evaluation scores, else "".
        part: what it answers of a task, where it is one of the parts of an evaluation.
        result, manifest, failure: the store's answers.
        damage: what is wrong with its output, which then counts as absent.
        documents: where its scores of single documents are, if it wrote any.
        layer_errors: where the errors of the matrices that it changed are, if it wrote them.
    """

    kind: str
    key: str
    task: str = ""
    part: str = ""
    result: Json | None = None
    manifest: Manifest | None = None
    failure: Failure | None = None
    damage: str = ""
    documents: Path | None = None
    layer_errors: Path | None = None

    @property
    def facts(self) -> Facts:
        """Where and when it ran and what it took; empty while it is not done."""
        return self.manifest if self.manifest else {}

    @property
    def name(self) -> str:
        """What a person calls it: "quantize", "evaluate cloze"."""
        return f"{self.kind} {self.task or self.part}".rstrip()


@dataclass(frozen=True, kw_only=True)
class CellOutcome:
    """A planned cell with everything that the store holds of it.

    Attributes:
        cell: the cell as recorded in the plan.
        status: "done", "failed" (a stage of it is at fault) or "missing".
        reason: why it failed, or which stages it lacks; "" when done.
        stages: its stages in the order of ROLES, those it shares with others too.
    """

    cell: CellRecord
    status: str
    reason: str
    stages: tuple[StageOutcome, ...] = field(default=())

    @property
    def key(self) -> str:
        """The cell's key, unique in the sweep."""
        return str(self.cell["key"])

    @property
    def begun(self) -> bool:
        """Whether anything at all became of it."""
        return any(stage.result or stage.failure for stage in self.stages)

    def at_work(self, running: Container[str]) -> list[StageOutcome]:
        """Its stages that are not done and whose keys are among the running."""
        return [s for s in self.stages if s.key in running and s.result is None]

    @property
    def measured(self) -> Json | None:
        """Result of its `measure` stage."""
        return next((s.result for s in self.stages if s.kind == "measure"), None)

    @property
    def scores(self) -> dict[str, Json]:
        """Task -> result of its evaluation.

        Empty when the checkpoint is not what the cell's label says (any stage but an
        evaluation failed): such scores belong to no cell.
        """
        if any(s.failure for s in self.stages if s.kind != "evaluate"):
            return {}
        return {s.task: s.result for s in self.stages if s.task and s.result is not None}


def collect(record: SweepRecord, store: Reads) -> list[CellOutcome]:
    """Every cell of the plan with its outcome, in the order of the plan.

    Each stage is read once, however many cells share it.
    """
    seen: dict[str, StageOutcome] = {}
    return [_outcome(cell, record["stages"], store, seen) for cell in record["cells"]]


def joined(planned: Sequence[CellOutcome], imported: Sequence[CellOutcome]) -> list[CellOutcome]:
    """The cells of a plan; an imported one stands in for a planned one that is not done.

    One that the plan has with other settings by now (more documents, say) is left out, as an
    earlier look at a cell is.
    """
    brought = {outcome.key: outcome for outcome in imported}
    kept = [
        o if o.status == "done" or o.key not in brought else brought.pop(o.key) for o in planned
    ]
    known = {outcome.key for outcome in kept}
    named = {_named(outcome) for outcome in planned}
    left = [o for key, o in brought.items() if key not in known and _named(o) not in named]
    return kept + left


def _named(outcome: CellOutcome) -> tuple[str, str]:
    return str(outcome.cell["model"]), str(outcome.cell["label"])


def _outcome(
    cell: CellRecord, specs: Mapping[str, Spec], store: Reads, seen: dict[str, StageOutcome]
) -> CellOutcome:
    own = {key: specs[key] for key in own_keys(cell)}
    lineage = {spec["key"]: spec for key in own for spec in _lineage(own[key])}
    for key, spec in lineage.items():
        if key not in seen:
            seen[key] = _read(spec, store)
    stages = tuple(sorted((seen[key] for key in lineage), key=_order))
    failed = [f"{s.name}: {_why(s.failure)}" for s in stages if s.failure]
    if failed:
        return CellOutcome(cell=cell, status="failed", reason="; ".join(failed), stages=stages)
    lacking = [s for s in stages if s.key in own and s.result is None]
    named = [f"{s.name} ({s.damage})" if s.damage else s.name for s in lacking]
    reason = f"not done yet: {', '.join(named)}" if lacking else _unscored(cell)
    status = "missing" if reason else "done"
    return CellOutcome(cell=cell, status=status, reason=reason, stages=stages)


def _unscored(cell: CellRecord) -> str:
    tasks = ", ".join(cell.get("unscored", ()))
    return f"scored with earlier settings only: {tasks}; run it with the newest" if tasks else ""


def _lineage(spec: Spec) -> Iterator[Spec]:
    for parent in spec.get("parents", {}).values():
        yield from _lineage(parent)
    yield spec


def _read(spec: Spec, store: Reads) -> StageOutcome:
    task = str(spec["params"]["task"]) if spec["kind"] == "evaluate" else ""
    part = spec["params"].get("part")
    known = StageOutcome(
        kind=spec["kind"],
        key=spec["key"],
        task="" if part else task,
        part=f"{task}, part {part[0] + 1} of {part[1]}" if part else "",
    )
    try:
        result, manifest = store.output(spec) or (None, None)
    except DamagedOutput as damage:
        return replace(known, damage=str(damage))
    failure = store.failure(spec) if result is None else None
    files = manifest["files"] if manifest is not None else {}
    return replace(
        known,
        result=result,
        manifest=manifest,
        failure=failure,
        documents=store.path(spec) / DOCUMENTS if DOCUMENTS in files else None,
        layer_errors=store.path(spec) / LAYER_ERRORS if LAYER_ERRORS in files else None,
    )


def _order(stage: StageOutcome) -> tuple[int, str]:
    return ROLES.index(stage.kind), stage.task


def _why(failure: Failure | None) -> str:
    return (failure["message"] if failure else "") or "no reason was recorded"


def devices(outcome: CellOutcome) -> str:
    """Device types that its scores were computed on: "cpu", "NVIDIA A100-SXM4-80GB", or several.

    Of a GPU that is its model, for scores differ between models: as its driver calls it, else
    as the cluster does ("cuda a100"); of a CPU its model and instructions, where they are known.
    """
    return _devices(outcome, ("evaluate",))


def _device(facts: Facts) -> str:
    gpu = facts.get("device") != "cpu"
    chosen = kernels.summary(facts.get("kernel_settings", {}), gpu=gpu)
    if gpu:
        typed = facts["slurm"].get("gpu_type", "") if facts.get("slurm") else ""
        name = facts.get("device_name") or f"{facts.get('device', '')} {typed}".strip()
        return f"{name} ({chosen})" if name and chosen else name
    known = [text for text in (facts.get("cpu"), facts.get("instructions")) if text]
    known += [chosen] if known and chosen else []
    return f"cpu ({', '.join(known)})" if known else "cpu"


def compressed_on(outcome: CellOutcome) -> str:
    """Device types that its checkpoint was made on; "" where nothing was."""
    return _devices(outcome, ("sensitivity", "prune", "quantize"))


def _devices(outcome: CellOutcome, kinds: Sequence[str]) -> str:
    return "+".join(sorted({_device(s.facts) for s in outcome.stages if s.kind in kinds} - {""}))


def epoch(moment: float | str) -> int:
    """Milliseconds since the epoch of a manifest's time: seconds, or ISO 8601."""
    seconds = datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else moment
    return round(1000 * seconds)
