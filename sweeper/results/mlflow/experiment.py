"""The runs of one MLflow experiment: read all at once, and only differences written."""

from __future__ import annotations

import getpass
import hashlib
import subprocess
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from sweeper.redaction import Redactor
from sweeper.results.mlflow.inputs import CONTEXT
from sweeper.results.mlflow.run import Wanted
from sweeper.store.progress import SECONDS_LEFT

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT = "mlflow.parentRunId"
CREATED = "isorate.created"
FILES = "isorate.files"
OURS = ("isorate.", "stage.", "version.", "slurm.")
"""Beginnings of the tags that a run has of us alone: those it should no longer have are removed."""
PAGE = 1000
# Without it the UI asks what the experiment is for, and may hide the runs.
KIND = {"mlflow.experimentKind": "custom_model_development"}


def experiment(client: MlflowClient, name: str, artifacts: str | None, note: str) -> str:
    """The id of the experiment of that name; made, or taken out of the bin, if need be.

    Args:
        client: of the tracking store.
        name: the sweep's name.
        artifacts: URI below which its files go; None lets the server decide.
        note: description of a new experiment, Markdown.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            place = f"{artifacts}/{quote(name, safe='')}" if artifacts else None
            tags = {"mlflow.note.content": note, **KIND}
            return str(client.create_experiment(name, place, tags))
        except MlflowException as error:
            # Another collector may have made it in between.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    assert found is not None
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


class Tracker:
    """One experiment and what was changed in it.

    Attributes:
        changes: requests so far that changed something.
    """

    def __init__(self, client: MlflowClient, uri: str, experiment: str) -> None:
        self.client, self.experiment = client, experiment
        self.changes = 0
        self._clean = Redactor(uri)

    def tag_experiment(self, name: str, value: str) -> None:
        """Give the experiment a tag unless it has it already."""
        if self.client.get_experiment(self.experiment).tags.get(name) != value:
            self.client.set_experiment_tag(self.experiment, name, value)

    def runs(self) -> list[Run]:
        """All runs that are not deleted, with their latest metrics."""
        found: list[Run] = []
        token: str | None = None
        while True:
            page = self.client.search_runs([self.experiment], max_results=PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def create(self, wanted: Wanted, tags: Mapping[str, str]) -> Run:
        """Make the run with what identifies it; `update` adds the rest."""
        name, value = wanted.identity
        own = {name: value, CREATED: str(time.time_ns()), "mlflow.user": _user()}
        own |= {"mlflow.source.name": "isorate", "mlflow.source.type": "LOCAL"}
        own |= {"mlflow.source.git.commit": sha} if (sha := commit()) else {}
        self.changes += 1
        return self.client.create_run(
            self.experiment,
            start_time=wanted.start,
            run_name=self._clean(wanted.name),
            tags={**own, **tags},
        )

    def delete(self, run: Run) -> None:
        """Move a run to MLflow's bin (`mlflow gc` empties it)."""
        self.changes += 1
        self.client.delete_run(run.info.run_id)

    def contradicts(self, run: Run, wanted: Wanted) -> bool:
        """Whether the run holds what MLflow cannot take back, so that it has to be made anew."""
        held = run.data.params
        if any(held.get(k, self._clean(v)) != self._clean(v) for k, v in wanted.params.items()):
            return True
        stale = set(run.data.metrics) - set(wanted.metrics) if wanted.retracted else set()
        last = {name.split("/")[-1] for name in stale}
        return any(name.startswith("Sr") or name in wanted.retracted for name in last)

    def update(self, run: Run, wanted: Wanted, tags: Mapping[str, str]) -> bool:
        """Write what differs: files first, then all numbers in one batch, then the status.

        Returns:
            Whether anything differed.
        """
        before = self.changes
        files = self._upload(run, wanted)
        self._batch(run, wanted, {**wanted.tags, **tags, **files})
        self._log_inputs(run, wanted)
        self._retract(run, wanted)
        self._finish(run, wanted)
        return self.changes > before

    def _upload(self, run: Run, wanted: Wanted) -> dict[str, str]:
        """Store the artifacts unless the run says that it has these; returns that tag."""
        contents = {
            path: self._clean(item).encode() if isinstance(item, str) else item.read_bytes()
            for path, item in wanted.artifacts.items()
        }
        digest = hashlib.sha256()
        for path, content in sorted(contents.items()):
            digest.update(f"{path}\0{len(content)}\0".encode() + content)
        tag = {FILES: digest.hexdigest()[:24]}
        if contents and run.data.tags.get(FILES) != tag[FILES]:
            self.changes += 1
            with tempfile.TemporaryDirectory(prefix="isorate-") as aside:
                for path, content in contents.items():
                    target = Path(aside, path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content)
                self.client.log_artifacts(run.info.run_id, aside)
        return tag if contents else {}

    def _batch(self, run: Run, wanted: Wanted, tags: Mapping[str, str]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now, held = int(1000 * time.time()), run.data
        # What was under way and is not any more has nothing left: a chart that stopped at
        # the last sync would say otherwise.
        over = {k: 0.0 for k in held.metrics if k == SECONDS_LEFT}
        clean = {k: self._clean(v) for k, v in {**tags, "mlflow.runName": wanted.name}.items()}
        metrics = [
            Metric(k, v, now, 0)
            for k, v in {**over, **wanted.metrics}.items()
            if held.metrics.get(k) != v
        ]
        params = [
            Param(k, self._clean(v)) for k, v in wanted.params.items() if k not in held.params
        ]
        changed = [RunTag(k, v) for k, v in clean.items() if held.tags.get(k) != v]
        if metrics or params or changed:
            self.changes += 1
            self.client.log_batch(run.info.run_id, metrics, params, changed)

    def _log_inputs(self, run: Run, wanted: Wanted) -> None:
        """Name the datasets that the run does not name yet; MLflow cannot take one back."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        held = {
            (tag.value, one.dataset.name, one.dataset.digest)
            for one in run.inputs.dataset_inputs
            for tag in one.tags
            if tag.key == CONTEXT
        }
        new = [one for one in wanted.inputs if one.identity not in held]
        if not new:
            return
        self.changes += 1
        datasets = [
            DatasetInput(
                Dataset(
                    name=self._clean(one.name),
                    digest=one.digest,
                    source_type="isorate",
                    source=self._clean(one.source),
                    profile=one.profile,
                ),
                [InputTag(CONTEXT, one.context)],
            )
            for one in new
        ]
        self.client.log_inputs(run.info.run_id, datasets)

    def _retract(self, run: Run, wanted: Wanted) -> None:
        """Remove the tags that held once: why a cell was not done, where it was computed before."""
        lasting = {*wanted.tags, wanted.identity[0], CREATED, FILES}
        for name in run.data.tags:
            if name.startswith(OURS) and name not in lasting:
                self.changes += 1
                self.client.delete_tag(run.info.run_id, name)

    def _finish(self, run: Run, wanted: Wanted) -> None:
        if wanted.status == "RUNNING":
            if run.info.status != "RUNNING":
                self.changes += 1
                self.client.update_run(run.info.run_id, status="RUNNING")
        elif (run.info.status, run.info.end_time) != (wanted.status, wanted.end):
            self.changes += 1
            self.client.set_terminated(run.info.run_id, wanted.status, wanted.end)


@cache
def commit() -> str:
    """Git commit of the checkout that this code runs from; "" outside of one."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):  # no git here, or not ours to read
        return ""
    return done.stdout.strip()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a user database
        return "unknown"
