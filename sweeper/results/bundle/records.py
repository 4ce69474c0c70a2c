"""What became of a sweep's cells as files of a bundle, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.errors import IsorateError
from sweeper.planning.record import SweepRecord
from sweeper.results import tables
from sweeper.results.bundle import answers
from sweeper.results.bundle.archive import json_bytes
from sweeper.results.bundle.portable import Redact, portable
from sweeper.results.outcomes import DOCUMENTS, CellOutcome, StageOutcome
from sweeper.store import manifest as manifests

if TYPE_CHECKING:
    from analysis.data.race_record import RaceRecord
    from analysis.data.results import Results

Json = Mapping[str, Any]

CELLS = "cells.json"
RACE = "race.json"
STAGES = "stages"
RECORD = "documents.jsonl"
ANSWERS = "answers.json"
RESULT = "result.json"
MANIFEST = "manifest.json"
_FAILURE = ("error", "message")  # its traceback is of this machine


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One evaluation of a bundle that kept its documents.

    Attributes:
        folder: where it is in the bundle.
        cells: labels of the cells that it scores.
        task: what it asked.
    """

    folder: str
    cells: tuple[str, ...]
    task: str

    @property
    def where(self) -> str:
        """As people name it: "cell 25%, task cloze"."""
        return f"cell {', '.join(self.cells)}, task {self.task}"


@dataclass(frozen=True, kw_only=True)
class Records:
    """What a bundle holds of a sweep.

    Attributes:
        outcomes: its cells, with documents that are in `files` and nowhere on a disk.
        evaluations: those that kept documents, by folder.
        files: path inside the bundle -> content.
    """

    outcomes: tuple[CellOutcome, ...]
    evaluations: Mapping[str, Evaluation]
    files: Mapping[str, bytes]

    def results(self) -> Results:
        """The tables and documents that `analysis` works on.

        Raises:
            BadResults: they contradict themselves.
        """
        from analysis.data.documents import Documents

        found: dict[str, Any] = {}
        sources = {}
        for outcome in self.outcomes:
            for stage in outcome.stages:
                folder = _folder(outcome, stage)
                if folder in self.evaluations and stage.task in outcome.scores:
                    if folder not in found:
                        found[folder] = answers.table(self.files[f"{folder}/{RECORD}"])
                    sources[outcome.key, stage.task] = found[folder]
        results = tables.results(self.outcomes)
        return replace(results, documents=Documents(sources), race=self._race())

    def _race(self) -> RaceRecord | None:
        from analysis.data.race_record import RaceRecord

        kept = json.loads(self.files.get(RACE, b"{}"))
        if not kept.get("reported") or len(kept["looks"]) < 2:
            return None
        looks = tuple(one["decision"] for one in kept["looks"][1:])
        return RaceRecord(looks=looks, names=kept["names"])


def pack(outcomes: Sequence[CellOutcome], redact: Redact) -> dict[str, bytes]:
    """The files of these cells, without secrets, paths and weights.

    Args:
        outcomes: the cells of a sweep.
        redact: takes secrets out of a text.

    Raises:
        DamagedOutput: scores of documents are no longer those that were written.
    """
    packed: dict[str, bytes] = {}
    for outcome in outcomes:
        for stage in outcome.stages:
            folder = _folder(outcome, stage)
            if stage.result is None or f"{folder}/{RESULT}" in packed:
                continue
            packed[f"{folder}/{RESULT}"] = json_bytes(portable(stage.result, redact))
            packed[f"{folder}/{MANIFEST}"] = json_bytes(portable(stage.manifest or {}, redact))
            if stage.documents is not None:
                packed |= _documents(folder, stage, stage.documents)
    cells = [
        {
            "cell": portable(outcome.cell, redact),
            "status": outcome.status,
            "reason": portable(outcome.reason, redact),
            "stages": [_stage(outcome, stage, redact) for stage in outcome.stages],
        }
        for outcome in outcomes
    ]
    return packed | {CELLS: json_bytes(cells)}


def read(files: Mapping[str, bytes]) -> Records:
    """The cells of a bundle.

    Raises:
        IsorateError: a file that every bundle has is no longer what it should be.
    """
    try:
        cells = json.loads(files[CELLS])
        outcomes = tuple(_outcome(cell, files) for cell in cells)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IsorateError(
            f"{CELLS} of the bundle or a file that it names is none of a bundle: "
            f"{type(error).__name__} {error}"
        ) from error
    scored: dict[str, Evaluation] = {}
    for outcome in outcomes:
        for stage in outcome.stages:
            folder = _folder(outcome, stage)
            if f"{folder}/{RECORD}" in files:
                before = scored[folder].cells if folder in scored else ()
                scored[folder] = Evaluation(
                    folder=folder,
                    cells=(*before, outcome.cell["label"]),
                    task=stage.task or stage.part,
                )
    return Records(outcomes=outcomes, evaluations=scored, files=files)


def plan(record: SweepRecord, redact: Redact) -> bytes:
    """A recorded plan; parents are named by key, and where inputs lay is left out."""
    stages = {
        key: {name: value for name, value in spec.items() if name != "sources"}
        | {"parents": {role: parent["key"] for role, parent in spec["parents"].items()}}
        for key, spec in record["stages"].items()
    }
    return json_bytes(portable({**record, "stages": stages}, redact))


def _folder(outcome: CellOutcome, stage: StageOutcome) -> str:
    """Where a stage is in a bundle: by its key; what was imported has none."""
    named = f"{outcome.key}\n{stage.task}".encode()
    return f"{STAGES}/{stage.key or 'imported-' + hashlib.sha256(named).hexdigest()[:16]}"


def _documents(folder: str, stage: StageOutcome, path: Path) -> dict[str, bytes]:
    import pandas as pd

    if stage.manifest and (listed := stage.manifest["files"].get(DOCUMENTS)):
        manifests.check_file(path, listed)
    data = answers.lines(pd.read_parquet(path))
    metrics = (stage.result or {}).get("metrics", {})
    return {
        f"{folder}/{RECORD}": data,
        f"{folder}/{ANSWERS}": json_bytes(answers.copy(data, metrics)),
    }


def _stage(outcome: CellOutcome, stage: StageOutcome, redact: Redact) -> Json:
    failure = {name: value for name, value in (stage.failure or {}).items() if name in _FAILURE}
    return {
        "kind": stage.kind,
        "key": stage.key,
        "task": stage.task,
        "part": stage.part,
        "damage": portable(stage.damage, redact),
        "failure": portable(failure, redact) if stage.failure else None,
        "result": f"{_folder(outcome, stage)}/{RESULT}" if stage.result is not None else None,
    }


def _outcome(kept: Json, files: Mapping[str, bytes]) -> CellOutcome:
    stages = []
    for one in kept["stages"]:
        where = one["result"]
        folder = where.rpartition("/")[0] if where else ""
        stages.append(
            StageOutcome(
                kind=one["kind"],
                key=one["key"],
                task=one["task"],
                part=one["part"],
                damage=one["damage"],
                failure=one["failure"],
                result=json.loads(files[where]) if where else None,
                manifest=json.loads(files[f"{folder}/{MANIFEST}"]) if where else None,
            )
        )
    return CellOutcome(
        cell=kept["cell"], status=kept["status"], reason=kept["reason"], stages=tuple(stages)
    )
