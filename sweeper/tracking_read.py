"""From MLflow back to results: what `sync` wrote there is enough, no store is needed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper import tracking_server
from sweeper.collect import ROLES, CellOutcome, StageOutcome
from sweeper.errors import BadInput, IsorateError, one_of
from sweeper.redact import redact
from sweeper.sweep import Sweep
from sweeper.tracking import tracking_uri
from sweeper.tracking_run import CELL, documents_path
from sweeper.tracking_runs import CREATED, FILES, Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STAGES, CONFIG, FOLDER = "stages.json", "config.yaml", "documents"
DOCUMENTS = "documents"
"""Directory of a sweep with the documents that were fetched from MLflow."""


def outcomes(name: str, *, home: Path, uri: str | None) -> list[CellOutcome]:
    """Every cell that has a run in the experiment of a sweep, the oldest run of each.

    Cells that never began have no run and so do not appear. Scores of single documents are
    fetched once and kept in the sweep's directory, so that comparisons are paired.

    Args:
        name: the sweep, which is the experiment's name.
        home: holds the default MLflow database, and takes the documents.
        uri: the tracking URI; None takes the environment's or the home's own.

    Raises:
        IsorateError: nothing answers there, or no such experiment, or a run that
            `sync` did not write.
    """
    where = tracking_uri(uri, home)
    try:
        client = tracking_server.connect(where, home)
    except tracking_server.Unreachable as silent:
        raise IsorateError(f"MLflow cannot be read: {redact(str(silent), where)}") from silent
    found = client.get_experiment_by_name(name)
    if found is None:
        known = sorted(one.name for one in client.search_experiments())
        raise BadInput("name", name, f"no such experiment in {redact(where)}; {one_of(known)}.")
    runs = Tracker(client, where, found.experiment_id).runs()
    mine = sorted((r for r in runs if CELL in r.data.tags), key=_age)
    first = {run.data.tags[CELL]: run for run in reversed(mine)}
    kept = Sweep(home, name).path / DOCUMENTS
    with tempfile.TemporaryDirectory(prefix="isorate-") as aside:
        return [_outcome(client, run, Path(aside), kept) for run in reversed(first.values())]


def _age(run: Run) -> int:
    return int(run.data.tags.get(CREATED, run.info.start_time or 0))


def _outcome(client: MlflowClient, run: Run, aside: Path, kept: Path) -> CellOutcome:
    import yaml

    stages = json.loads(_artifact(client, run, STAGES, aside))
    config = yaml.safe_load(_artifact(client, run, CONFIG, aside))
    tags = run.data.tags
    documents = _documents(client, run, kept)
    return CellOutcome(
        cell=_cell(run, config),
        status=tags["isorate.status"],
        reason=tags.get("isorate.reason", ""),
        stages=tuple(
            sorted((_stage(n, r, tags, documents) for n, r in stages.items()), key=_order)
        ),
    )


def _documents(client: MlflowClient, run: Run, kept: Path) -> dict[str, Path]:
    """Path among the run's artifacts -> local copy, of every file of documents it has.

    A run whose files have changed since has another digest, hence another directory.
    """
    folder = kept / f"{run.info.run_id}-{run.data.tags.get(FILES, '')}"
    found = {}
    for one in client.list_artifacts(run.info.run_id, FOLDER):
        if not (folder / one.path).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as partial:
                fetched = Path(client.download_artifacts(run.info.run_id, one.path, partial))
                (folder / one.path).parent.mkdir(exist_ok=True)
                fetched.replace(folder / one.path)
        found[one.path] = folder / one.path
    return found


def _artifact(client: MlflowClient, run: Run, name: str, aside: Path) -> str:
    from mlflow.exceptions import MlflowException

    folder = aside / run.info.run_id
    folder.mkdir(exist_ok=True)
    try:
        return Path(client.download_artifacts(run.info.run_id, name, str(folder))).read_text()
    except (MlflowException, OSError) as error:
        raise IsorateError(
            f"the run {run.info.run_name!r} ({run.info.run_id}) has no readable {name}: "
            f"{str(error).splitlines()[0]}. `isorate sync` writes it again."
        ) from error


def _cell(run: Run, config: Mapping[str, Any]) -> dict[str, Any]:
    """The cell as the plan recorded it, from the run's parameters."""
    params, tags = run.data.params, run.data.tags
    seed = params.get("calibration_seed")
    sparsity = float(params["sparsity"])
    return {
        "key": tags[CELL],
        "label": tags["isorate.label"],
        "model": params["model"],
        "tcr": run.data.metrics["TCr"],
        "sparsity": sparsity,
        "pattern": params["pattern"] if sparsity else "",
        "bits": float(params["bits"]),
        "mask": params["mask"],
        "prune_method": params.get("prune_method", ""),
        "quant_method": params.get("quant_method", ""),
        "calibration_seed": None if seed is None else int(seed),
        "rerun": int(params.get("rerun", 0)),
        "config": config,
    }


def _stage(
    name: str, record: Mapping[str, Any], tags: Mapping[str, str], documents: Mapping[str, Path]
) -> StageOutcome:
    kind, _, task = name.partition(" ")
    return StageOutcome(
        kind=kind, task=task, key=tags.get(f"stage.{name.replace(' ', '.')}", ""),
        result=record.get("result"), manifest=record.get("manifest"),
        failure=record.get("failure"),
        documents=documents.get(documents_path(task)) if task else None,
    )  # fmt: skip


def _order(stage: StageOutcome) -> tuple[int, str]:
    return ROLES.index(stage.kind), stage.task
