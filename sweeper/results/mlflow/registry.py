"""A checkpoint in MLflow's model registry, as a version of a model that names the cell's run.

The version is the directory as it is exported: what `mlflow artifacts download` brings from
``models:/NAME/VERSION`` loads in transformers and vLLM, and has no flavor of MLflow's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.errors import BadInput, IsorateError
from sweeper.redaction import redact
from sweeper.results.mlflow import connection
from sweeper.results.mlflow.experiment import Tracker
from sweeper.results.mlflow.run import CELL
from sweeper.results.mlflow.sync import tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FOLDER = "checkpoint"
_TOLD = ("TCr", "Sr", "size_mb", "bits_per_weight")
"""Metrics of the run that the version repeats as tags, as far as they are known."""


def check(name: str) -> None:
    """Refuse a name that the registry would not take.

    Raises:
        BadInput: it is empty, or has a slash or a colon.
    """
    if not name.strip() or set(name) & set("/:"):
        raise BadInput("register", name, "a name without '/' and ':'.", "Example: register=llama")


def register(
    checkpoint: Path, name: str, cell: str, *, sweep: str, home: Path, uri: str | None
) -> str:
    """Make a checkpoint the next version of a registered model.

    Args:
        checkpoint: its directory; the files are copied to the artifacts of the cell's run.
        name: of the registered model, which is made if it does not exist.
        cell: key of the cell.
        sweep: its name, which is the experiment's.
        home: holds the default MLflow store.
        uri: see `tracking_uri`.

    Returns:
        Address of the version: ``models:/NAME/VERSION``.

    Raises:
        IsorateError: MLflow does not answer, takes no such model, or has no run of this cell.
    """
    from mlflow.exceptions import MlflowException

    where = tracking_uri(uri, home)
    try:
        client = connection.connect(where, home)
        run = _run(client, where, sweep, cell)
        client.log_artifacts(run.info.run_id, str(checkpoint), FOLDER)
        _model(client, name)
        known = run.data.metrics
        version = client.create_model_version(
            name,
            source=f"{run.info.artifact_uri}/{FOLDER}",
            run_id=run.info.run_id,
            tags={
                "isorate.sweep": sweep,
                "isorate.label": run.data.tags.get("isorate.label", ""),
                **{metric: f"{known[metric]:.6g}" for metric in _TOLD if metric in known},
            },
        )
    except (connection.Unreachable, MlflowException, OSError) as error:
        told = redact(str(error).splitlines()[0], where)
        raise IsorateError(
            f"{checkpoint} is there, but MLflow at {redact(where)} did not register it: {told}"
        ) from error
    return f"models:/{name}/{version.version}"


def _run(client: MlflowClient, uri: str, sweep: str, cell: str) -> Run:
    """The run of a cell.

    Raises:
        IsorateError: there is none.
    """
    experiment = client.get_experiment_by_name(sweep)
    runs = Tracker(client, uri, experiment.experiment_id).runs() if experiment else []
    found = next((run for run in runs if run.data.tags.get(CELL) == cell), None)
    if found is None:
        raise IsorateError(
            f"MLflow at {redact(uri)} has no run of this cell to register a model of; "
            f"`isorate sync name={sweep}` writes it."
        )
    return found


def _model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
