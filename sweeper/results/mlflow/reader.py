"""From MLflow back to results: what `sync` wrote there is enough, no store is needed."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.errors import BadInput, IsorateError, one_of
from sweeper.planning.record import CellRecord
from sweeper.planning.sweep import Sweep
from sweeper.redaction import redact
from sweeper.results.mlflow import connection
from sweeper.results.mlflow.experiment import CREATED, FILES, Tracker
from sweeper.results.mlflow.run import CELL, ORIGIN, documents_path
from sweeper.results.mlflow.sync import tracking_uri
from sweeper.results.outcomes import ROLES, CellOutcome, StageOutcome

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_ID = re.compile(r"[0-9a-f]{32}")
STAGES, CELL_FILE, FOLDER = "stages.json", "cell.json", "documents"
DOCUMENTS = "documents"
"""Directory of a sweep with the documents that were fetched from MLflow."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A tracking server that answers.

    Attributes:
        client: of MLflow.
        uri: where it is.
        kept: directory for the documents of runs, which are fetched once.
        aside: one that goes when the reading is over.
    """

    client: MlflowClient
    uri: str
    kept: Path
    aside: Path

    @property
    def place(self) -> str:
        """The URI without credentials."""
        return str(redact(self.uri))

    def runs(self, name: str) -> list[Run]:
        """All runs of an experiment; of each cell of ours the oldest.

        Raises:
            BadInput: no such experiment.
        """
        found = self.client.get_experiment_by_name(name)
        if found is None:
            known = sorted(one.name for one in self.client.search_experiments())
            raise BadInput("name", name, f"no such experiment in {self.place}; {one_of(known)}.")
        runs = sorted(Tracker(self.client, self.uri, found.experiment_id).runs(), key=_age)
        first = {run.data.tags.get(CELL, run.info.run_id): run for run in reversed(runs)}
        return list(reversed(first.values()))

    def find(self, path: str) -> list[Run]:
        """A run by its id, or by "experiment/its name"; else all runs of an experiment."""
        from mlflow.exceptions import MlflowException

        if _ID.fullmatch(path):
            try:
                return [self.client.get_run(path)]
            except MlflowException as error:
                raise BadInput("path", path, f"no such run in {self.place}.") from error
        experiment, _, name = path.partition("/")
        if not name or self.client.get_experiment_by_name(path) is not None:
            return self.runs(path)
        runs = self.runs(experiment)
        named = [run for run in runs if run.info.run_name == name]
        if len(named) != 1:
            raise BadInput(
                "path",
                path,
                f"{len(named)} runs have this name; "
                f"{one_of([str(run.info.run_name) for run in runs])}.",
            )
        return named

    def outcome(self, run: Run) -> CellOutcome:
        """The cell that `sync` wrote into a run."""
        return _outcome(self.client, run, self.aside, self.kept)


@contextmanager
def opened(kept: Path, *, home: Path, uri: str | None) -> Iterator[Server]:
    """The server at a tracking URI; None takes the environment's or the home's own.

    Raises:
        IsorateError: nothing answers there.
    """
    where = tracking_uri(uri, home)
    try:
        client = connection.connect(where, home)
    except connection.Unreachable as silent:
        raise IsorateError(f"MLflow cannot be read: {redact(str(silent), where)}") from silent
    with tempfile.TemporaryDirectory(prefix="isorate-") as aside:
        yield Server(client=client, uri=where, kept=kept, aside=Path(aside))


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
    with opened(Sweep(home, name).path / DOCUMENTS, home=home, uri=uri) as server:
        return [server.outcome(run) for run in server.runs(name) if CELL in run.data.tags]


def _age(run: Run) -> int:
    return int(run.data.tags.get(CREATED, run.info.start_time or 0))


def _outcome(client: MlflowClient, run: Run, aside: Path, kept: Path) -> CellOutcome:
    stages = json.loads(_artifact(client, run, STAGES, aside))
    cell: CellRecord = json.loads(_artifact(client, run, CELL_FILE, aside))
    tags = run.data.tags
    documents = _documents(client, run, kept)
    if ORIGIN in tags:
        cell["origin"] = tags[ORIGIN]
    return CellOutcome(
        cell=cell,
        status=tags["isorate.status"],
        reason=tags.get("isorate.reason", ""),
        stages=tuple(sorted((_stage(one, documents) for one in stages.values()), key=_order)),
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


def _stage(record: Mapping[str, Any], documents: Mapping[str, Path]) -> StageOutcome:
    kind, key, task, part = (str(record[field]) for field in ("kind", "key", "task", "part"))
    return StageOutcome(
        kind=kind,
        task=task,
        part=part,
        key=key,
        result=record.get("result"),
        manifest=record.get("manifest"),
        failure=record.get("failure"),
        documents=documents.get(documents_path(task)) if task else None,
    )


def _order(stage: StageOutcome) -> tuple[int, str]:
    return ROLES.index(stage.kind), stage.task
