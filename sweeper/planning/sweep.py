"""A sweep on disk: the plans that were recorded under its name, its logs and its report.

<home>/sweeps/<name>/plan-<hash>.json   one file per distinct plan, written once
<home>/sweeps/<name>/elsewhere/         checkpoints that were imported: which cell each one is
<home>/sweeps/<name>/logs/              what stages printed
<home>/sweeps/<name>/report/            tables, figures, the HTML page
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, cast

from sweeper.config.section import Frozen
from sweeper.errors import BadInput
from sweeper.planning import looks, moved_home
from sweeper.planning.cells import basis, shape_inference
from sweeper.planning.cells.cell import Cell
from sweeper.planning.chosen_launcher import remembered
from sweeper.planning.plan import Plan, PlannedCell, Stage
from sweeper.planning.record import (
    CellConfig,
    CellRecord,
    CellStages,
    LoadedPlan,
    PlanBody,
    PlanRecord,
    SweepRecord,
)
from sweeper.redaction import redact
from sweeper.store import files
from sweeper.store.hashing import key_of
from sweeper.store.spec import Spec, StageRecord

ELSEWHERE, REPORT, FORGOTTEN = "elsewhere", "report", "forgotten.json"
PLANS = "plan-*.json"
LOOK = "look"
"""Of a plan that is a look of a race: which one."""
_DEFAULT = ["hydra/launcher=local"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True)
class Sweep:
    """A sweep's directory below a home."""

    home: Path
    name: str

    def __post_init__(self) -> None:
        """Refuse a name that could leave the directory of sweeps."""
        if not _NAME.fullmatch(self.name):
            raise BadInput(
                "name", self.name, "letters, digits, '.', '_', '+' and '-' (at most 100)."
            )

    @property
    def path(self) -> Path:
        """Where everything that belongs to this sweep alone is."""
        return self.home / "sweeps" / self.name

    @property
    def logs(self) -> Path:
        """What its stages printed."""
        return self.path / "logs"

    @property
    def report(self) -> Path:
        """Tables, figures and the HTML page."""
        return self.path / REPORT

    @property
    def planned(self) -> bool:
        """Whether a plan was recorded under this name."""
        return any(self.path.glob(PLANS))

    @property
    def plans(self) -> list[Path]:
        """The recorded plans, the one that was asked for last at the end."""
        made = {path: str(files.read_json(path)["created"]) for path in self.path.glob(PLANS)}
        return sorted(made, key=lambda path: (made[path], path.name))

    @property
    def forgotten(self) -> list[str]:
        """Keys of the cells of plans that were forgotten."""
        path = self.path / FORGOTTEN
        return list(files.read_json(path)["cells"]) if path.is_file() else []

    def forget(self, plan: Path) -> None:
        """Remove a recorded plan; outputs stay in the store, its cells leave MLflow at a sync."""
        keys = {cell["key"] for cell in files.read_json(plan)["cells"]}
        files.write_whole(self.path / FORGOTTEN, {"cells": sorted(keys.union(self.forgotten))})
        plan.unlink()

    @property
    def elsewhere(self) -> dict[tuple[str, str], dict[str, str]]:
        """(model, label) of a cell -> keys of its model: the checkpoint that was imported for it.

        Those are ``compressed`` and, where it is known, ``pruned``.
        """
        names = sorted((self.path / ELSEWHERE).glob("*.json"))
        found = [moved_home.rebased(files.read_json(path), self.home) for path in names]
        return {
            (one["model"], one["label"]): {"compressed": one["path"]}
            | {k: one[k] for k in ("pruned",) if k in one}
            for one in found
        }

    def record(self, plan: Plan, overrides: Sequence[str], checkpoints: str) -> None:
        """Write the plan down as the newest; recording the newest again changes nothing.

        Args:
            plan: the plan.
            overrides: what was typed, for people.
            checkpoints: the policy, for whoever finishes the sweep elsewhere.
        """
        meaning = plan_json(plan)
        target = self.path / f"plan-{key_of(meaning)}.json"
        known = list(self.path.glob(PLANS))
        if known != [target] and target not in self.plans[-1:]:
            files.write_whole(target, {**self._head(overrides, checkpoints), **meaning})

    def record_look(
        self, meaning: PlanBody, number: int, since: str, overrides: Sequence[str], checkpoints: str
    ) -> None:
        """Write the plan of a race's look down, by whichever process sets or resumes it.

        Its time is that of the decision that set it, whoever writes it and when; so a process that
        is behind never makes an earlier look the newest plan. Where a plan without a race came
        meanwhile, the time is now: who runs the race again wants its looks.

        Args:
            meaning: cells and stages, as `plan_json` has them.
            number: of the look.
            since: when it was set.
            overrides: as of `record`.
            checkpoints: likewise.
        """
        target = self.path / f"plan-{key_of(meaning)}.json"
        newest = files.read_json(self.plans[-1]) if self.planned else {LOOK: 0}
        if LOOK in newest and target.exists():
            return
        head = {**self._head(overrides, checkpoints), LOOK: number}
        if LOOK in newest:
            head["created"] = since
        files.write_whole(target, {**head, **meaning})

    def _head(self, overrides: Sequence[str], checkpoints: str) -> dict[str, Any]:
        return {
            "name": self.name,
            "created": datetime.now(UTC).isoformat(timespec="microseconds"),
            "overrides": [redact(text) for text in overrides],
            "checkpoints": checkpoints,
            moved_home.HOME: str(self.home),
        }

    def load(self) -> SweepRecord:
        """All plans of this name as one record; each stage has its parents' records inside.

        Raises:
            BadInput: nothing was ever recorded under this name.
        """
        records = [read_plan(path) for path in sorted(self.path.glob(PLANS))]
        if not records:
            known = ", ".join(sweeps(self.home)) or "none yet"
            raise BadInput(
                "name",
                self.name,
                f"no such sweep in {self.home}; valid: {known}.",
                "`isorate list` shows them; `isorate run` makes one.",
            )
        record = merge(records)
        gone = {*record["superseded"], *self.forgotten} - {c["key"] for c in record["cells"]}
        record["superseded"] = sorted(gone)
        brought = self.elsewhere
        record["launcher"] = [] if (words := remembered(self.path)) == _DEFAULT else words
        record["cells"] = [cell for cell in record["cells"] if _current(cell, brought)]
        return record


def _current(cell: CellRecord, elsewhere: Mapping[tuple[str, str], Mapping[str, str]]) -> bool:
    """Whether a cell is none that an imported checkpoint has taken the place of."""
    where = elsewhere.get((cell["model"], cell["label"]))
    own = {key: cell["config"]["model"].get(key) for key in where or ()}
    return where is None or own == where


def sweeps(home: Path) -> list[str]:
    """Names of the sweeps of a home."""
    return sorted({path.parent.name for path in (home / "sweeps").glob("*/plan-*.json")})


def latest(home: Path) -> Sweep | None:
    """The sweep of a home that was planned last; None if there is none."""
    plans = list((home / "sweeps").glob("*/plan-*.json"))
    return Sweep(home, max(plans, key=_written).parent.name) if plans else None


def _written(path: Path) -> float:
    return path.stat().st_mtime


def read_plan(path: Path) -> LoadedPlan:
    """One recorded plan, with each stage's parents inside it."""
    record: PlanRecord = moved_home.rebased(files.read_json(path), path.parent.parent.parent)
    return {**record, "stages": nested(record["stages"])}


def typed(overrides: Sequence[str], launcher: Sequence[str] = ()) -> str:
    """The arguments that a plan was made from, as one would type them.

    Those that chose its launcher come first: pasted without them, the rest would run here.
    """
    words = [word for word in overrides if not word.startswith("action=")]
    return shlex.join([*launcher, *words])


def nested(stages: Mapping[str, StageRecord]) -> dict[str, Spec]:
    """Stage records whose parents are records instead of keys (shared, not copied)."""
    specs: dict[str, Spec] = {key: {**stage, "parents": {}} for key, stage in stages.items()}
    for key, stage in stages.items():
        specs[key]["parents"] = {role: specs[one] for role, one in stage["parents"].items()}
    return specs


def plan_json(plan: Plan) -> PlanBody:
    """A plan as JSON data: its cells, and its stages by key."""
    return {
        "cells": [cell_json(cell) for cell in plan.cells],
        "stages": {key: stage.record() for key, stage in plan.stages.items()},
    }


def cell_json(planned: PlannedCell) -> CellRecord:
    """A planned cell as JSON data."""
    cell = planned.cell
    record: CellRecord = {
        "key": planned.key,
        "label": planned.label,
        "model": cell.model["name"],
        "tcr": cell.tcr,
        "sparsity": cell.sparsity,
        "pattern": cell.pruning.pattern if cell.pruning else "",
        "bits": cell.bits,
        "mask": cell.mask,
        "prune_method": cell.pruning.method if cell.pruning else "",
        "quant_method": cell.quantization.method if cell.quantization else "",
        "calibration_seed": cell.calibration["seed"] if cell.calibration else None,
        "rerun": cell.rerun,
        "scale_bits": planned.scale_bits,
        "config": _config(planned),
        "stages": cast(
            CellStages,
            {role: stage.key for role, stage in planned.stages.items()}
            | {"evaluate": {name: stage.key for name, stage in planned.tasks.items()}},
        ),
    }
    if where := cell.model.dict.get("compressed"):
        record["origin"] = f"the checkpoint {where}, compressed elsewhere"
    if planned.former:
        record["former"] = list(planned.former)
    return record


def _config(planned: PlannedCell) -> CellConfig:
    cell = planned.cell
    sections: CellConfig = {"model": cell.model.dict, "tasks": cell.tasks.dict}
    if planned.groups:
        sections["groups"] = dict(planned.groups)
    if cell.calibration:
        sections["calibration"] = cell.calibration.dict
    for kind, options in basis.steps(cell.model).items():
        sections[kind] = options
    if cell.model.dict.get("compressed"):
        return {**sections, **_said(cell)}
    if "prune" in planned.stages:
        sections["prune"] = _asked(planned.stages["prune"])
    if "quantize" in planned.stages:
        sections["quantize"] = _asked(planned.stages["quantize"])
    return sections


def _asked(stage: Stage) -> dict[str, Any]:
    own = ("model", "calibration", "compute_dtype", "save_dtype")
    return {k: v for k, v in stage.params.items() if k not in own}


class _Said(TypedDict, total=False):
    prune: Mapping[str, Any]
    quantize: Mapping[str, Any]


def _said(cell: Cell) -> _Said:
    """How a checkpoint that was compressed elsewhere is said to have been made."""
    quant = cell.quantization
    found: _Said = {"prune": shape_inference.meaning(cell.pruning)} if cell.pruning else {}
    if quant:
        found["quantize"] = {
            "method": quant.method,
            "bits": quant.bits,
            "mask": quant.mask,
            **Frozen(quant.options).dict,
        }
    return found


def merge(records: Sequence[LoadedPlan]) -> SweepRecord:
    """The plans of one sweep as one record: later plans add cells and stages.

    A checkpoint that several plans name is one cell, scored with the newest settings (see
    `sweeper.planning.looks`). One that a release made in an older format is left out where it was
    planned anew (see `sweeper.planning.formats`). ``superseded`` has the keys of both.

    Raises:
        ValueError: no record, or records of different sweeps.
    """
    if len({record["name"] for record in records}) != 1:
        names = sorted({str(record["name"]) for record in records})
        raise ValueError(f"one sweep's plans expected, got those of: {', '.join(names) or 'none'}")
    ordered = sorted(records, key=lambda record: str(record["created"]))
    cells = {cell["key"]: cell for cell in looks.newest(ordered)}
    stages = {key: spec for record in ordered for key, spec in record["stages"].items()}
    former = {key for cell in cells.values() for key in cell.get("former", ())}
    current = [cell for key, cell in cells.items() if key not in former]
    gone = (looks.superseded(current) | former) - {cell["key"] for cell in current}
    return {
        **ordered[-1],
        "cells": current,
        "stages": stages,
        "superseded": sorted(gone),
        "launcher": [],
    }
