"""What became of each submitted stage: SLURM's word, the attempts' own and the store's, joined.

None of them is reliable alone: a job can complete without a result, a result can come from
an attempt that SLURM gave up, and an attempt that was killed cannot say so.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from launchers.slurm import records
from launchers.slurm.cluster.accounting import Answer, Row, ask
from launchers.slurm.job.stage_job import BLOCKED
from launchers.slurm.records import Element, Json
from sweeper.results import launcher_record
from sweeper.stages import KINDS
from sweeper.store import garbage
from sweeper.store.store import Store

State = Literal["done", "queued", "running", "failed", "ended", "blocked"]
Cause = Literal[
    "", "cell", "out of memory", "time limit", "preempted", "node failure", "cancelled",
    "python error", "killed", "blocked", "lost", "unknown",
]  # fmt: skip

_WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "CONFIGURING", "RESV_DEL_HOLD",
            "SPECIAL_EXIT"}  # fmt: skip
_RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED"}
_WORDS = {
    "Dependency": "waits for the stages that it needs",
    "Priority": "waits for jobs of higher priority",
    "Resources": "waits for free resources",
    "JobArrayTaskLimit": "waits for its turn (array_parallelism)",
    "BeginTime": "starts again shortly",
    "JobHeldUser": "is held (scontrol release lets it go)",
    "JobHeldAdmin": "is held by an administrator",
}
_LAG_S = 120.0  # accounting may know a job only after this
_MEMORY = re.compile(r"oom.?kill|out.of.memory|exceeded (job |step )?memory limit", re.IGNORECASE)
_TAIL_BYTES, _TAIL_LINES = 4096, 6


@dataclass(frozen=True, kw_only=True)
class JobState:
    """One submitted stage.

    Attributes:
        state: "done", "queued", "running"; "failed": the cell is at fault; "ended": its job
            ended for another reason, see ``cause``; "blocked": what it needs did not come about.
        cause: why, in one of the words of `Cause`.
        reason: one sentence, and the last lines of the log where there is more to say.
        again: whether another attempt could fare better.
        job: SLURM's id.
        node, partition: where it runs or ran.
        elapsed_s: of its latest execution.
        restarts: executions of this job before the latest.
        gpu_hours: of all executions of this job; stages of one job share it.
        log: the file with what the job printed.
    """

    state: State
    cause: Cause = ""
    reason: str = ""
    again: bool = False
    job: str = ""
    node: str = ""
    partition: str = ""
    elapsed_s: float = 0.0
    restarts: int = 0
    gpu_hours: float = 0.0
    log: str = ""

    @property
    def live(self) -> bool:
        """Whether its job will still do it."""
        return self.state in ("queued", "running")


@dataclass(frozen=True, kw_only=True)
class JobTable:
    """All submitted stages of a sweep.

    Attributes:
        stages: stage key -> its state.
        note: what could not be found out; empty if nothing.
        known: whether SLURM (its accounting or its queue) answered.
        gpu_hours: of all jobs of the sweep so far.
        eta_s: seconds until the last job ends if as many run as now; None if none runs.
        rounds: what the repair-and-collect jobs did, the oldest first.
    """

    stages: Mapping[str, JobState] = field(default_factory=dict)
    note: str = ""
    known: bool = True
    gpu_hours: float = 0.0
    eta_s: float | None = None
    rounds: Sequence[Json] = ()


def table(sweep: Path, store: Store) -> JobTable:
    """The state of every stage that was ever submitted for a sweep; calls sacct once."""
    submitted = launcher_record.submissions(sweep)
    all_elements = records.elements(sweep, submitted)
    extra = {record["round"]["job"] for record in submitted if record.get("round", {}).get("job")}
    answer = ask({element.job for element in all_elements} | extra)
    latest = {key: element for element in all_elements for key in element.keys}
    done, failed = _listed(store)
    states: dict[str, JobState] = {}
    for key, element in latest.items():
        rows = answer.rows.get(element.job, ())
        if key in failed and key not in done:
            reason = _failure(store, key)
            states[key] = _state("failed", "cell", reason, element, rows)
        elif key in done:
            states[key] = _state("done", "", "", element, rows)
        else:
            states[key] = judge(sweep, key, element, answer)
    return JobTable(
        stages=states,
        note=answer.note,
        known=answer.answered,
        gpu_hours=sum(row.gpu_hours for rows in answer.rows.values() for row in rows),
        eta_s=_eta_s(states, {element.job: element.seconds for element in latest.values()}),
        rounds=launcher_record.rounds(sweep),
    )


def _eta_s(states: Mapping[str, JobState], seconds: Mapping[str, float]) -> float | None:
    """The work left in live jobs, shared by those that run."""
    live = {state.job: state for state in states.values() if state.live}
    running = {state.job: state.elapsed_s for state in states.values() if state.state == "running"}
    left = sum(max(0.0, seconds[job] - running.get(job, 0.0)) for job in live)
    return left / len(running) if running else None


def _listed(store: Store) -> tuple[set[str], set[str]]:
    listings = [store.listing(kind) for kind in _kinds(store)]
    done = {key for listing in listings for key in listing.done}
    return done, {key for listing in listings for key in listing.failed}


def _kinds(store: Store) -> list[str]:
    return sorted({*KINDS, *(path.name for path in garbage.kinds(store.root))})


def _failure(store: Store, key: str) -> str:
    found = (store.failure({"kind": kind, "key": key}) for kind in _kinds(store))
    return next((str(failure["message"]) for failure in found if failure), "the cell is at fault")


def judge(sweep: Path, key: str, element: Element, answer: Answer) -> JobState:
    """The state of a stage that the store has nothing of."""
    rows = answer.rows.get(element.job, ())
    if not rows:
        return _without_row(key, sweep, element, answer)
    row = rows[-1]
    if row.state in _WAITING:
        reason = _WORDS.get(row.reason, row.reason)
        return _state("queued", "", reason, element, rows)
    attempt = _attempt(sweep, key, element.job)
    if row.state in _RUNNING:
        return _running(key, element, rows, attempt)
    attempt = attempt or _out_of_time(sweep, element)
    cause, reason, again = classify(row, attempt, _said(element, attempt))
    return _state("blocked" if cause == "blocked" else "ended", cause, reason, element, rows, again)


def _running(key: str, element: Element, rows: Sequence[Row], attempt: Json | None) -> JobState:
    if attempt is None or attempt["restart"] < len(rows) - 1:
        return _state("queued", "", "its job works on another stage first", element, rows)
    if ending := attempt.get("ending"):
        return _by_itself(ending, element, rows)
    return _state("running", "", "", element, rows)


def _by_itself(ending: Json, element: Element, rows: Sequence[Row]) -> JobState:
    """A stage that has said how it ended, whatever became of its job."""
    message, again = str(ending["message"]), bool(ending["again"])
    if ending["error"] == BLOCKED:
        return _state("blocked", "blocked", message, element, rows, again)
    return _state("ended", "python error", message, element, rows, again)


def _without_row(key: str, sweep: Path, element: Element, answer: Answer) -> JobState:
    attempt = _attempt(sweep, key, element.job)
    if attempt and (ending := attempt.get("ending")):
        return _by_itself(ending, element, ())
    if not answer.complete:
        reason = "its job has left the queue, or SLURM does not answer"
        return _state("ended", "unknown", reason, element, (), True)
    if time.time() - element.submitted < _LAG_S:
        return _state("queued", "", "has just been submitted", element, ())
    return _state("ended", "lost", "SLURM's accounting does not know its job", element, (), True)


def classify(row: Row, attempt: Json | None, said: str) -> tuple[Cause, str, bool]:
    """(cause, one sentence with the log's last lines, whether to try again) of an ended job.

    Args:
        row: its last execution.
        attempt: what the attempt wrote about itself, if it began.
        said: the last lines of its log.
    """
    ending = (attempt or {}).get("ending") or {}
    with_log = f"\n{said}" if said else ""
    if ending.get("error") == BLOCKED:
        return "blocked", str(ending["message"]), bool(ending["again"])
    if row.state == "CANCELLED" and not row.node and not row.cancelled_by:
        return "blocked", "cancelled by SLURM: a stage that it needs did not come about", True
    if row.state == "OUT_OF_MEMORY" or _MEMORY.search(said) or _ran_out(ending):
        return "out of memory", f"out of memory (it held {_gb(row)}): raise mem_gb{with_log}", True
    if row.state in ("TIMEOUT", "DEADLINE") or ending.get("error") == "UncompletedJobError":
        minutes = row.elapsed_s / 60
        return "time limit", f"its time limit ended it after {minutes:.0f} min{with_log}", True
    if row.state == "PREEMPTED":
        return "preempted", f"a job of higher priority took its place{with_log}", True
    if row.state in ("NODE_FAIL", "BOOT_FAIL"):
        return "node failure", f"its node {row.node} failed", True
    if row.state == "CANCELLED":
        return "cancelled", f"cancelled by user {row.cancelled_by or 'unknown'}", False
    if ending:
        return "python error", str(ending["message"]), bool(ending["again"])
    if 9 in (row.signal, row.exit_code) or row.exit_code == 137:
        sentence = f"killed (signal 9; it held {_gb(row)}, memory is the usual cause)"
        return "killed", sentence + with_log, True
    if row.state == "COMPLETED":
        return "lost", f"its job completed, but nothing was committed{with_log}", True
    return "python error", f"its job failed (exit status {row.exit_code}){with_log}", False


def _ran_out(ending: Mapping[str, Any]) -> bool:
    return ending.get("error") in ("MemoryError", "OutOfMemoryError")


def _gb(row: Row) -> str:
    return f"{row.max_rss_bytes / 1e9:.1f} GB" if row.max_rss_bytes else "an unknown amount"


def _attempt(sweep: Path, key: str, job: str) -> Json | None:
    mine = [attempt for attempt in records.attempts(sweep, key) if attempt["job"] == job]
    return max(mine, key=lambda attempt: int(attempt["restart"]), default=None)


def _out_of_time(sweep: Path, element: Element) -> Json | None:
    """The attempt of another stage at which this job ran out of time for good, if it did."""
    for other in element.keys:
        attempt = _attempt(sweep, other, element.job)
        if ((attempt or {}).get("ending") or {}).get("error") == "UncompletedJobError":
            return attempt
    return None


def _said(element: Element, attempt: Json | None) -> str:
    """The last lines of the stage's own log and of the job's."""
    paths = [Path(attempt["log"])] if attempt and attempt.get("log") else []
    lines = [line for path in (*paths, element.log) for line in tail(path)]
    return "\n".join(f"  | {line}" for line in lines)


def tail(path: Path, lines: int = _TAIL_LINES) -> list[str]:
    """The last lines of a file that may be absent or large."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


def _state(
    state: State, cause: Cause, reason: str, element: Element, rows: Sequence[Row],
    again: bool = False,
) -> JobState:  # fmt: skip
    last = rows[-1] if rows else Row(state="")
    return JobState(
        state=state, cause=cause, reason=reason, again=again, job=element.job, node=last.node,
        partition=last.partition, elapsed_s=last.elapsed_s, restarts=max(0, len(rows) - 1),
        gpu_hours=sum(row.gpu_hours for row in rows), log=str(element.log),
    )  # fmt: skip
