"""Brings the runs of an experiment to what is wanted, whoever else does the same meanwhile."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from sweeper.results.mlflow.experiment import CREATED, PARENT, Tracker
from sweeper.results.mlflow.run import CELL, SWEEP, Wanted

if TYPE_CHECKING:
    from mlflow.entities import Run

PASSES = 4
# MLflow's answers that concern one run only: a name it does not take, or a run that
# another collector has just deleted.
REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "BAD_REQUEST")

Identity = tuple[str, str]


class OutOfTime(Exception):
    """The time that was given is over; what is written stays."""


class Projection:
    """One sync at work; the counts hold for what was done even when it is cut short.

    Attributes:
        seen, created, updated: identities of runs.
        removed: duplicates, and runs that had to be made anew.
        refused: name of a run -> why MLflow did not take it.
    """

    def __init__(self, *, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.seen: set[Identity] = set()
        self.created: set[Identity] = set()
        self.updated: set[Identity] = set()
        self.removed = 0
        self.refused: dict[str, str] = {}

    def carry_out(
        self,
        tracker: Tracker,
        sweep: Wanted,
        cells: Sequence[Wanted],
        gone: Collection[str] = (),
    ) -> None:
        """Pass over the experiment until there is nothing left to make or to remove.

        Two collectors may make the same run; the later of them to look again sees both,
        and each keeps the oldest, so that any number of them agree. Runs of the cells whose keys
        are ``gone`` are removed: others stand in for them.

        Raises:
            OutOfTime: at the deadline.
        """
        for _ in range(PASSES):
            before = (len(self.created), self.removed)
            self.refused = {}
            found = self._reconciled(tracker)
            for key in gone:
                if (CELL, key) in found:
                    self._remove(tracker, found.pop((CELL, key)))
            parent = self._try(tracker, found, sweep, {})
            if parent is None:  # another collector took ours for the duplicate: look again
                continue
            for cell in cells:
                if self.deadline is not None and time.monotonic() > self.deadline:
                    raise OutOfTime("the time that was given is over")
                self._try(tracker, found, cell, {PARENT: parent})
            if before == (len(self.created), self.removed) and not self.refused:
                return

    def _reconciled(self, tracker: Tracker) -> dict[Identity, Run]:
        """Our runs by what they are; of each only the oldest is left."""
        same: dict[Identity, list[Run]] = defaultdict(list)
        for run in tracker.runs():
            for tag in (CELL, SWEEP):
                if tag in run.data.tags:
                    same[tag, run.data.tags[tag]].append(run)
        for runs in same.values():
            runs.sort(key=_age)
            for duplicate in runs[1:]:
                self._remove(tracker, duplicate)
        return {identity: runs[0] for identity, runs in same.items()}

    def _try(
        self,
        tracker: Tracker,
        found: Mapping[Identity, Run],
        wanted: Wanted,
        tags: Mapping[str, str],
    ) -> str | None:
        """The id of the run that is now up to date; None if MLflow refused it."""
        from mlflow.exceptions import MlflowException

        try:
            return self._write(tracker, found, wanted, tags)
        except MlflowException as error:
            if error.error_code not in REFUSALS:
                raise
            self.refused[wanted.name] = str(error).splitlines()[0]
            return None

    def _write(
        self,
        tracker: Tracker,
        found: Mapping[Identity, Run],
        wanted: Wanted,
        tags: Mapping[str, str],
    ) -> str:
        """Bring one run up to date; returns its id."""
        identity, run = wanted.identity, found.get(wanted.identity)
        self.seen.add(identity)
        if run and identity[0] == CELL and wanted.status == "RUNNING" != run.info.status:
            # Its results have left the store (a home was cleaned): what is logged stays.
            return str(run.info.run_id)
        if run and tracker.contradicts(run, wanted):
            self._remove(tracker, run)
            run = None
        if run is None:
            run = tracker.create(wanted, tags)
            self.created.add(identity)
        if tracker.update(run, wanted, tags):
            self.updated.add(identity)
        return str(run.info.run_id)

    def _remove(self, tracker: Tracker, run: Run) -> None:
        from mlflow.exceptions import MlflowException

        try:
            tracker.delete(run)
        except MlflowException as error:  # another collector was first
            if error.error_code not in REFUSALS:
                raise
        self.removed += 1


def _age(run: Run) -> tuple[int, str]:
    return int(run.data.tags.get(CREATED, "0")), run.info.run_id
