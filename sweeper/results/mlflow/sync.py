"""MLflow as a projection of the store: written by one collector, as often as one likes.

One experiment per sweep, one parent run, one nested run per cell that has begun, with
speed and time left of its stages at work. Runs are found again by a tag, so that a second
`sync` changes nothing; nothing that goes wrong here costs more than seconds and a warning.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sweeper.planning.record import SweepRecord
from sweeper.redaction import redact
from sweeper.results import launcher_record
from sweeper.results import outcomes as cell_outcomes
from sweeper.results.mlflow import best_cells, connection, experiment, run, ui_view
from sweeper.results.mlflow import names as run_names
from sweeper.results.mlflow.connection import Unreachable
from sweeper.results.mlflow.experiment import Tracker
from sweeper.results.mlflow.reconcile import OutOfTime, Projection
from sweeper.results.mlflow.retention_metrics import retained
from sweeper.results.mlflow.run import Wanted
from sweeper.results.outcomes import CellOutcome, Json, Reads, joined
from sweeper.store.progress import Headway

LONGEST = 300

NOTE = """\
One run per cell: a model, how it is pruned and how it is quantized.

- **TCr** is the theoretical compression rate in percent; cells of equal TCr, or of equal
  **size_mb** (10^6 bytes on disk), are to be compared.
- **Sr** is what is kept of the dense model: the ratio of the summed scores (Sr2 of the paper);
  **Sr1** is the mean of **retention/task**, the score as a share of the dense model's (perplexity:
  the inverse).
- **bits_per_weight** counts mask and scales; **mask_kept** is the share of pruned weights that are
  still 0, in percent, in the worst matrix.
- **SrCr_p**, **SrCr_q** and **SrCr_j** (pruned, quantized, both) have different scales:
  sort by one of them, never across.

One row per cell as a table: `mlflow.search_runs(experiment_names=[...],
filter_string="tags.`isorate.kind` = 'cell'")`. The sweep's own run has the best cells and the
report.
`isorate sync` rebuilds these runs from the sweep's results.
"""

BEHIND = (
    "MLflow at %s is not up to date: %s. No result is lost: `isorate sync` writes what is "
    "missing once it can be reached (tracking.uri names another one)."
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What one `sync` did.

    Attributes:
        uri: where, without credentials.
        view: address of the prepared table in MLflow's UI (from "/" on for a database).
        created, updated, unchanged: runs of cells and of the sweep itself.
        removed: duplicates and runs that had to be made anew.
        problem: why it stopped or what it could not write; "" when all is there.
        seconds: how long it took.
    """

    uri: str
    view: str = ""
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    problem: str = ""
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether MLflow now shows all that the store holds."""
        return not self.problem


def tracking_uri(configured: str | None, home: Path) -> str:
    """The store to write to: the configured one, else MLFLOW_TRACKING_URI, else the home's own."""
    return configured or os.environ.get("MLFLOW_TRACKING_URI") or connection.default_uri(home)


def sync(
    record: SweepRecord,
    store: Reads,
    *,
    home: Path,
    uri: str | None = None,
    report: Path | None = None,
    imported: Sequence[CellOutcome] = (),
    running: Mapping[str, Headway] = MappingProxyType({}),
    limit_s: float | None = None,
    quiet: bool = False,
) -> Summary:
    """Make MLflow show what the store holds of a sweep; writes only what differs.

    Args:
        record: the recorded plan; for a sweep of several plans, `sweep.merge` of them.
        store: where the results are.
        home: the sweep's home; holds the default MLflow store and its artifacts.
        uri: see `tracking_uri`.
        report: directory whose files become artifacts of the parent run.
        imported: cells whose scores came from elsewhere (tag isorate.origin).
        running: key -> headway of the stages at work now, see `Store.running`.
        limit_s: stop after so many seconds and leave the rest to the next `sync`.
        quiet: do not warn of a problem; it is in the summary all the same.

    Returns:
        What was done. An MLflow that is down, slow, locked or refuses something is a
        warning in the log and `Summary.problem`, never an exception.
    """
    started = time.monotonic()
    where = tracking_uri(uri, home)
    outcomes = joined(cell_outcomes.collect(record, store), imported)
    work = Projection(deadline=None if limit_s is None else started + limit_s)
    view = problem = ""
    try:
        tracker = _open(where, home, record["name"])
        tracker.tag_experiment(ui_view.TAG, ui_view.state())
        view = ui_view.link(where, tracker.experiment)
        jobs = launcher_record.executions(home / "sweeps" / record["name"])
        wanted = _wanted(record, outcomes, report, jobs, running)
        work.carry_out(tracker, *wanted, gone=record.get("superseded", ()))
        problem = "; ".join(f"{name}: {why}" for name, why in work.refused.items())
    except _trouble() as error:
        problem = _one_line(error)
    problem = redact(problem, where)
    if problem and not quiet:
        log.warning(BEHIND, redact(where), problem)
    return Summary(
        uri=redact(where),
        view=view,
        created=len(work.created),
        updated=len(work.updated - work.created),
        unchanged=len(work.seen - work.updated - work.created),
        removed=work.removed,
        problem=problem,
        seconds=time.monotonic() - started,
    )


def _open(uri: str, home: Path, name: str) -> Tracker:
    client = connection.connect(uri, home)
    artifacts = connection.artifact_root(uri, home)
    return Tracker(client, uri, experiment.experiment(client, name, artifacts, NOTE))


def _wanted(
    record: SweepRecord,
    outcomes: Sequence[CellOutcome],
    report: Path | None,
    jobs: Sequence[Json],
    running: Mapping[str, Headway],
) -> tuple[Wanted, list[Wanted]]:
    """The parent run, and the run of every cell that has begun."""
    files = [path for path in sorted(report.rglob("*")) if path.is_file()] if report else []
    named = {path.relative_to(report).as_posix(): path for path in files if report}
    names, kept = run_names.names(outcomes), retained(outcomes)
    begun = [o for o in outcomes if o.begun or o.at_work(running)]
    cells = [run.wanted(o, names[o.key], kept[o.key], running) for o in begun]
    found = best_cells.best(begun, {c.identity[1]: c.metrics for c in cells})
    return run.sweep_run(record, outcomes, named, jobs, found), cells


def _trouble() -> tuple[type[Exception], ...]:
    """What an MLflow that does not work raises; ImportError is a missing database driver."""
    plain = (Unreachable, OutOfTime, OSError, ImportError)
    if "mlflow" not in sys.modules:
        return plain
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (*plain, MlflowException, SQLAlchemyError)


def _one_line(error: Exception) -> str:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return first if len(first) <= LONGEST else first[:LONGEST] + "..."
