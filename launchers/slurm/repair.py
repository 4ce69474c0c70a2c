"""The last job of every submission: try again what may fare better, then collect and report.

Of a race it also decides the look that has ended, and submits the next one.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isorate.overrides import override
from isorate.pinning import program
from launchers.slurm import records
from launchers.slurm.cluster.accounting import ask
from launchers.slurm.status import JobState
from sweeper.errors import IsorateError
from sweeper.planning import retention
from sweeper.planning.sweep import Sweep
from sweeper.redaction import log_to_stderr
from sweeper.results import launcher_record
from sweeper.store import files
from sweeper.store.store import Store

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

Json = dict[str, Any]

VERBS = ("sync", "report")
"""What can be done with the results of a sweep by its name alone."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What to do about stages that were submitted and did not come about.

    Attributes:
        again: keys of those that may fare better.
        memory: stage key -> factor on the memory that it asks for.
        given_up: stage key -> why it is not tried again.
    """

    again: frozenset[str]
    memory: Mapping[str, float]
    given_up: Mapping[str, str]


def judge(
    states: Mapping[str, JobState],
    memory: Mapping[str, float],
    *,
    memory_factor: float,
    tries: Mapping[str, int],
    rounds: int,
) -> Verdict:
    """Which stages to submit again.

    Args:
        states: of every submitted stage.
        memory: factors that were asked for so far.
        memory_factor: by how much to raise what ran out.
        tries: stage key -> how often it was submitted again so far.
        rounds: how often one stage may be; with 0 all is given up.
    """
    ended = {key: s for key, s in states.items() if s.state in ("ended", "blocked")}
    again = frozenset(k for k, s in ended.items() if s.again and tries.get(k, 0) < rounds)
    raised = {
        key: memory.get(key, 1.0) * memory_factor
        for key in again
        if ended[key].cause in ("out of memory", "killed")
    }
    given_up = {
        key: f"{s.cause}: {s.reason}" if s.reason else s.cause
        for key, s in ended.items()
        if key not in again
    }
    return Verdict(again=again, memory={**memory, **raised}, given_up=given_up)


def tried_again(
    tries: Mapping[str, int],
    verdict: Verdict,
    states: Mapping[str, JobState],
    needed: Collection[str],
) -> dict[str, int]:
    """Tries after this round: each stage has its own, and what only waited for others has none."""
    own = {k for k in verdict.again if k in needed and states[k].state == "ended"}
    return {**tries, **{key: tries.get(key, 0) + 1 for key in own}}


@dataclass(frozen=True, kw_only=True)
class Round:
    """The repair-and-collect job of one submission; safe to run twice.

    Attributes:
        home: the home of store and sweep.
        sweep: name of the sweep.
        submission: whose end it waited for.
        launcher: how to make the launcher: ``_target_`` and its arguments.
        verbs: what to do at the end, of `VERBS`.
        early: whether it begins with the first job that ends badly, while others still work: then
            it repairs and does not collect.
    """

    home: str
    sweep: str
    submission: str
    launcher: Mapping[str, Any]
    verbs: Sequence[str]
    early: bool = False

    def __call__(self) -> Json:
        """Repair, take a race to its next look, collect, and leave a record of all."""
        log_to_stderr()
        sweep = Sweep(Path(self.home), self.sweep)
        done: Json = {"submission": self.submission, **records.who()}
        if self.early:
            return done | self._repair(sweep)
        try:
            done |= self._repair(sweep)
        except IsorateError as error:
            # A site may forbid submissions from nodes: the next `isorate run` does the same.
            log.warning("nothing was submitted again: %s", error)
            done |= {"resubmitted": [], "error": str(error)}
        done["accounting"] = accounting(sweep.path)
        path = sweep.path / "jobs" / f"{self.submission}.round.json"
        files.write_whole(path, done)
        if follower := _to_come(sweep.path, self.submission):
            files.write_whole(path, done | {"followed_by": follower})
            return done
        if not done["resubmitted"]:
            done["freed_bytes"] = _drop_checkpoints(sweep)
        done["verbs"] = {verb: self._verb(verb) for verb in self.verbs}
        files.write_whole(path, done)
        return done

    def checkpoint(self) -> DelayedSubmission:
        """The same once more, after a preemption."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _repair(self, sweep: Sweep) -> Json:
        launcher = launcher_record.make(self.launcher)
        store = Store(Path(self.home))
        found: Json = launcher.repair(sweep, store, after=self.submission, early=self.early)
        if self.early or found["resubmitted"]:  # the last job of a look decides it
            return found
        looked: Json = launcher.next_look(sweep, store)
        return found | looked

    def _verb(self, verb: str) -> int:
        """Exit status of a verb of this sweep, in a process of its own."""
        words = [override("name", self.sweep), override("home", self.home)]
        command = [*program("sweeper"), verb, *words]
        log.info("%s", " ".join(command))
        return subprocess.run(command, check=False).returncode


def _to_come(sweep: Path, after: str) -> str:
    """A submission that an early repair made since, whose own round collects; "" if there is none.

    It waits for all that was alive then, so for what this round has waited for as well.
    """
    later = [r for r in launcher_record.submissions(sweep) if r.get("follows") == after]
    return next((r["submission"] for r in later if not records.is_over(sweep, r)), "")


def _drop_checkpoints(sweep: Sweep) -> int:
    """Drop what the sweep's policy keeps no longer; bytes that were freed.

    Only here: while jobs run, nobody sees all readers of a checkpoint. The policy is what
    ``checkpoints`` was when the plan was recorded; without it all is kept.
    """
    policy = str(sweep.load().get("checkpoints", "keep"))
    store, stages = Store(sweep.home), retention.planned(sweep.home)
    return sum(store.drop_bulk(spec) for spec in retention.unread(store, stages, policy))


def accounting(sweep: Path) -> Sequence[Json]:
    """Every execution of every job of a sweep: node, elapsed, memory and GPU hours."""
    elements = records.elements(sweep, launcher_record.submissions(sweep))
    rows = ask({element.job for element in elements}).rows
    return [
        {
            "job": element.job,
            "restart": restart,
            "stages": list(element.keys),
            "state": row.state,
            "node": row.node,
            "partition": row.partition,
            "elapsed_s": row.elapsed_s,
            "max_rss_bytes": row.max_rss_bytes,
            "gpus": row.gpus,
            "gpu_hours": round(row.gpu_hours, 6),
        }
        for element in elements
        for restart, row in enumerate(rows.get(element.job, ()))
        if row.node
    ]
