"""What became of each submitted stage: SLURM's word, the attempts' own and the store's, joined.

None of them is reliable alone: a job can complete without a result, a result can come from
an attempt that SLURM gave up, and an attempt that was killed cannot say so.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from launchers import leases
from launchers.leases import Holder
from launchers.slurm import records
from launchers.slurm.cluster.accounting import LIVE, RUNNING, WAITING, Answer, Row, ask
from launchers.slurm.cluster.queue import not_shown
from launchers.slurm.job.stage_job import BLOCKED
from launchers.slurm.records import Element, Json, Pull
from sweeper.results import launcher_record
from sweeper.stages import KINDS
from sweeper.store import garbage
from sweeper.store.store import Store

State = Literal["done", "queued", "running", "failed", "ended", "blocked"]
Cause = Literal[
    "",
    "cell",
    "out of memory",
    "time limit",
    "preempted",
    "node failure",
    "cancelled",
    "python error",
    "killed",
    "blocked",
    "lost",
    "unknown",
]

_WORDS = {
    "Dependency": "waits for the stages that it needs",
    "Priority": "waits for jobs of higher priority",
    "Resources": "waits for free resources",
    "JobArrayTaskLimit": "waits for its turn (array_parallelism)",
    "BeginTime": "starts again shortly",
    "JobHeldUser": "is held (scontrol release lets it go)",
    "JobHeldAdmin": "is held by an administrator",
}
_INVALID = "cancelled by SLURM: a stage that it needs did not come about"
UNTRACED = "cancelled while it waited: SLURM keeps no record of who did it"
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
        to_come: whether a job, or a round, still waits or works: else nothing happens by itself.
        over: whether the holder of a stage's lease is a job that has left the queue.
    """

    stages: Mapping[str, JobState] = field(default_factory=dict)
    note: str = ""
    known: bool = True
    gpu_hours: float = 0.0
    eta_s: float | None = None
    rounds: Sequence[Json] = ()
    to_come: bool = False
    over: Callable[[Holder], bool] | None = None


def table(sweep: Path, store: Store) -> JobTable:
    """The state of every stage that was ever submitted for a sweep; calls squeue and sacct once."""
    submitted = launcher_record.submissions(sweep)
    all_elements = records.elements(sweep, submitted)
    rounds = [r["round"]["job"] for r in submitted if r.get("round", {}).get("job")]
    answer = ask({element.job for element in all_elements} | {*rounds})
    latest = _latest(submitted, all_elements)
    done, failed = _listed(store)
    over = {r["submission"] for r in submitted if records.is_over(sweep, r)}
    judge = Judge(
        sweep=sweep,
        home=store.home,
        answer=answer,
        over=frozenset(over),
        done=done,
        elements={element.job: element for element in all_elements},
    )
    states: dict[str, JobState] = {}
    for key, (element, pull) in latest.items():
        rows = answer.rows.get(element.job, ())
        if key in failed and key not in done:
            reason = _failure(store, key)
            states[key] = _state("failed", "cell", reason, element, rows)
        elif key in done:
            states[key] = _state("done", "", "", element, rows)
        else:
            states[key] = judge.pulled(key, pull) if pull else judge(key, element)
    return JobTable(
        stages=states,
        note=answer.note,
        known=answer.answered,
        gpu_hours=sum(row.gpu_hours for rows in answer.rows.values() for row in rows),
        eta_s=_eta_s(states, {element.job: element.seconds for element in all_elements}),
        rounds=launcher_record.rounds(sweep),
        to_come=any(state.live for state in states.values()) or _round_to_come(rounds, answer),
        over=judge.gone,
    )


def _latest(
    submitted: Sequence[Json], elements: Sequence[Element]
) -> dict[str, tuple[Element, Pull | None]]:
    """Stage key -> the job that was last submitted for it, or the first of those that pull it."""
    by_job = {element.job: element for element in elements}
    found: dict[str, tuple[Element, Pull | None]] = {}
    for record in submitted:
        for job in (job for array in record["arrays"] for job in array["jobs"]):
            found |= dict.fromkeys(by_job[job].keys, (by_job[job], None))
        for pull in records.pulls(record):
            found |= dict.fromkeys(pull.seconds, (by_job[pull.jobs[0]], pull))
    return found


def _round_to_come(rounds: Sequence[str], answer: Answer) -> bool:
    """Whether a round still waits or works, and may submit more."""
    if answer.queue is not None:
        return not answer.queue.isdisjoint(rounds)
    ended = (answer.rows[job][-1] for job in rounds if answer.rows.get(job))
    return any(row.state in LIVE for row in ended)


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


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Says what became of stages that the store has nothing of.

    A fresh heartbeat in the home means alive, whatever SLURM shows; then the queue counts,
    which knows all jobs of this user; then accounting, which may lag or forget.

    Attributes:
        sweep, home: of the stages.
        answer: what SLURM knows.
        over: submissions all of whose jobs have ended.
        done: keys of the stages that are in the store.
        elements: SLURM's id -> what was submitted under it.
        began: submission -> whether its workers have begun a stage, as far as that was asked.
    """

    sweep: Path
    home: Path
    answer: Answer
    over: frozenset[str]
    done: Set[str]
    elements: Mapping[str, Element]
    began: dict[str, bool] = field(default_factory=dict)

    def __call__(self, key: str, element: Element) -> JobState:
        """The state of a stage."""
        rows = self.answer.rows.get(element.job, ())
        attempt = _attempt(self.sweep, key, element.job)
        if not rows or (rows[-1].state in LIVE and self._has_left(element)):
            return self._out_of_sight(key, element, rows, attempt)
        row = rows[-1]
        if row.state in WAITING:
            return _state("queued", "", _WORDS.get(row.reason, row.reason), element, rows)
        if row.state in RUNNING:
            return _running(element, rows, attempt)
        attempt = attempt or _out_of_time(self.sweep, element)
        cause, reason, again = classify(
            row, attempt, _said(element, attempt), parents_failed=self._parents_failed(element)
        )
        state: State = "blocked" if cause == "blocked" else "ended"
        return _state(state, cause, reason, element, rows, again)

    def pulled(self, key: str, pull: Pull) -> JobState:
        """The state of a stage that one of several equal jobs takes for itself."""
        elements = [self.elements[job] for job in pull.jobs]
        tried = [a for a in records.attempts(self.sweep, key) if a["submission"] == pull.submission]
        holder = leases.holder(leases.of_stage(self.home, key), self.gone)
        at = self.elements.get(holder.job if holder else tried[-1]["job"] if tried else "")
        element = at or elements[0]
        rows = self.answer.rows.get(element.job, ())
        if holder is not None:
            return _state("running", "", "" if at else f"{holder} works on it", element, rows)
        ending = tried[-1].get("ending") if tried else None
        if ending and not ending["again"]:
            return _by_itself(ending, element, rows)
        if any(self._is_alive(one) for one in elements):
            words = self._next(tried[-1], element, rows) if tried else "waits for its turn"
            return _state("queued", "", words, element, ())
        if ending:
            return _by_itself(ending, element, rows)
        if not tried and self._any_began(pull):
            reason = "its turn did not come while its workers lasted"
            return _state("blocked", "blocked", reason, element, (), True)
        return self._of_worker(element, rows, tried[-1] if tried else None)

    def _next(self, attempt: Json, element: Element, rows: Sequence[Row]) -> str:
        """What becomes of a stage whose attempt ended while other workers are left."""
        if rows and rows[-1].state not in LIVE:
            cause, _, _ = classify(rows[-1], attempt, _said(element, attempt), parents_failed=False)
            if cause == "out of memory":
                return "ran out of memory: the next round asks for more"
        return "is tried again by the next worker"

    def _of_worker(self, element: Element, rows: Sequence[Row], attempt: Json | None) -> JobState:
        """What became of a stage whose worker ended with it, or before it took any."""
        if not rows or rows[-1].state in LIVE:
            again = attempt is not None or element.began
            cause: Cause = "lost" if again else "cancelled"
            reason = "its job has left the queue" if again else UNTRACED
            return _state("ended", cause, reason, element, rows, again)
        cause, reason, again = classify(
            rows[-1], attempt, _said(element, attempt), parents_failed=False
        )
        return _state("ended", cause, reason, element, rows, again)

    def _is_alive(self, element: Element) -> bool:
        rows = self.answer.rows.get(element.job, ())
        if rows and rows[-1].state not in LIVE:
            return False
        if self.answer.queue is None or not_shown(element):
            return bool(rows) or element.submission not in self.over
        return element.job in self.answer.queue

    def _any_began(self, pull: Pull) -> bool:
        """Whether the jobs of an array have begun any stage: else they cannot work at all."""
        if pull.submission not in self.began:
            self.began[pull.submission] = any(
                a["submission"] == pull.submission
                for key in pull.seconds
                for a in records.attempts(self.sweep, key)
            )
        return self.began[pull.submission]

    def gone(self, holder: Holder) -> bool:
        """Whether the job that has a lease is one of these and has left the queue."""
        known = self.elements.get(holder.job)
        return known is not None and self._has_left(known)

    def _has_left(self, element: Element) -> bool:
        queue = self.answer.queue
        return queue is not None and not not_shown(element) and element.job not in queue

    def _out_of_sight(
        self, key: str, element: Element, rows: Sequence[Row], attempt: Json | None
    ) -> JobState:
        """The state of a stage whose job SLURM does not show, or takes for alive by mistake."""
        if attempt and (ending := attempt.get("ending")):
            return _by_itself(ending, element, rows)
        holder = leases.holder(leases.of_stage(self.home, key))
        if holder is not None:
            return _state("running", "", f"{holder} gives signs of life", element, rows)
        if not self.answer.answered:
            reason = "its job has left the queue, or SLURM does not answer"
            return _state("ended", "unknown", reason, element, rows, True)
        if not_shown(element) and element.submission not in self.over:
            reason = (
                f"{element.user} submitted it, and SLURM does not show here what became of it; "
                "name=... of your own starts what is missing all the same"
            )
            return _state("queued", "", reason, element, rows)
        if self.answer.queue is None:
            reason = "accounting does not know its job, and the controller does not answer"
            return _state("queued", "", reason, element, rows)
        ran = attempt is not None or element.began or any(row.node for row in rows)
        if not ran and self._known(element):
            if self._parents_failed(element):
                return _state("blocked", "blocked", _INVALID, element, rows, True)
            return _state("ended", "cancelled", UNTRACED, element, rows, False)
        if time.time() - _last_sign(element) < _LAG_S:
            reason = "its job is over; accounting has not said yet how"
            return _state("queued", "", reason if ran else "has just been submitted", element, rows)
        return self._lost(element, rows)

    def _lost(self, element: Element, rows: Sequence[Row]) -> JobState:
        """A job that has left the queue, and nobody says how."""
        if not self.answer.accounted:
            reason = "its job has left the queue, and there is no accounting to say how"
            return _state("ended", "unknown", reason, element, rows, True)
        if rows:
            reason = "its job is over, and SLURM's accounting does not say how"
            return _state("ended", "lost", reason, element, rows, True)
        reason = "SLURM's accounting does not know its job"
        return _state("ended", "lost", reason, element, rows, True)

    def _known(self, element: Element) -> bool:
        """Whether SLURM would tell of the job if it had started: it has others of its array."""
        base = element.job.split("_")[0]
        return not self.answer.accounted or any(
            job.split("_")[0] == base for job in self.answer.rows
        )

    def _parents_failed(self, element: Element) -> bool:
        """Whether a job that it waited for ended badly: SLURM cancels it then."""
        return any(self._failed(job) for job in element.after)

    def _failed(self, job: str) -> bool:
        parent = self.elements.get(job)
        alive = self.answer.queue is not None and job in self.answer.queue
        return parent is not None and not alive and not self.done >= set(parent.keys)


def _last_sign(element: Element) -> float:
    """When a job was last heard of, in seconds since the epoch."""
    heard = [element.submitted]
    for path in (element.log, element.log.with_suffix(".out")):
        with suppress(OSError):
            heard.append(path.stat().st_mtime)
    return max(heard)


def _running(element: Element, rows: Sequence[Row], attempt: Json | None) -> JobState:
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
    cause: Cause = "out of memory" if ran_out(ending) else "python error"
    return _state("ended", cause, message, element, rows, again)


def classify(
    row: Row, attempt: Json | None, said: str, *, parents_failed: bool = True
) -> tuple[Cause, str, bool]:
    """(cause, one sentence with the log's last lines, whether to try again) of an ended job.

    Args:
        row: its last execution.
        attempt: what the attempt wrote about itself, if it began.
        said: the last lines of its log.
        parents_failed: whether a job that it waited for ended badly. A controller that was
            started again has forgotten who cancelled a job, so the word alone does not tell.
    """
    ending = (attempt or {}).get("ending") or {}
    with_log = f"\n{said}" if said else ""
    if ending.get("error") == BLOCKED:
        return "blocked", str(ending["message"]), bool(ending["again"])
    if row.state == "CANCELLED" and not row.node and not row.cancelled_by and parents_failed:
        return "blocked", _INVALID, True
    if row.state == "OUT_OF_MEMORY" or _MEMORY.search(said) or ran_out(ending):
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


def ran_out(ending: Mapping[str, Any]) -> bool:
    """Whether an attempt said itself that there was not enough memory."""
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
    state: State,
    cause: Cause,
    reason: str,
    element: Element,
    rows: Sequence[Row],
    again: bool = False,
) -> JobState:
    last = rows[-1] if rows else Row(state="")
    return JobState(
        state=state,
        cause=cause,
        reason=reason,
        again=again,
        job=element.job,
        node=last.node,
        partition=last.partition,
        elapsed_s=last.elapsed_s,
        restarts=max(0, len(rows) - 1),
        gpu_hours=sum(row.gpu_hours for row in rows),
        log=str(element.log),
    )
