"""What SLURM says about jobs: one call of sacct for all of them, read into rows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from launchers.slurm.cluster import queue as queues
from launchers.slurm.cluster.commands import SlurmError, run
from launchers.slurm.cluster.queue import Queued
from launchers.slurm.resources.resources import gres_gpus

T = TypeVar("T")

WAITING = {
    "PENDING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "CONFIGURING",
    "RESV_DEL_HOLD",
    "SPECIAL_EXIT",
}
RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED"}
LIVE = WAITING | RUNNING
_BEGUN_AGAIN = {"REQUEUED", "PREEMPTED", "NODE_FAIL"}
"""How an execution ends after which SLURM may start the job again."""
_FIELDS = (
    "JobID",
    "State",
    "ExitCode",
    "Reason",
    "NodeList",
    "ElapsedRaw",
    "AllocTRES",
    "MaxRSS",
    "Partition",
)
_ARRAY = re.compile(r"(?P<job>\d+)_\[(?P<items>[^\]%]*)(%\d+)?\]")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One execution of a job, or its waiting for one.

    Attributes:
        state: SLURM's word, in capitals, without "by UID".
        cancelled_by: user id of who cancelled it.
        exit_code, signal: of the batch script.
        reason: why it waits, or waited before it started.
        node: where it ran; empty if it never did.
        elapsed_s: seconds.
        gpus: allocated.
        max_rss_bytes: of its largest step; 0 if it ended before SLURM took a sample.
    """

    state: str
    cancelled_by: str = ""
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    node: str = ""
    elapsed_s: float = 0.0
    gpus: int = 0
    max_rss_bytes: int = 0
    partition: str = ""

    @property
    def gpu_hours(self) -> float:
        """GPUs times hours."""
        return self.gpus * self.elapsed_s / 3600.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is known about jobs.

    Attributes:
        rows: SLURM's id of a job -> its executions, the latest last.
        queue: ids of this user's jobs that wait or run; None if squeue does not answer.
        accounted: whether sacct answered (it may lag behind).
        note: what is missing and why; empty if nothing is.
    """

    rows: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    queue: frozenset[str] | None = frozenset()
    accounted: bool = True
    note: str = ""

    @property
    def answered(self) -> bool:
        """Whether SLURM said anything at all."""
        return self.accounted or self.queue is not None


def ask(jobs: Collection[str]) -> Answer:
    """All that SLURM knows of these jobs (ids; an element's array is asked as a whole).

    The queue is asked before accounting: what has left it by then has ended, and why a job
    waits the queue knows better. Either may be away; the answer's note says so.
    """
    ids = sorted({job.split("_")[0] for job in jobs}, key=int)
    if not ids:
        return Answer()
    queue, no_queue = _or_why(queues.mine)
    rows, no_accounting = _or_why(lambda: _sacct(ids))
    return Answer(
        rows=_joined(rows or {}, queue or {}, set(ids)),
        queue=None if queue is None else frozenset(queue),
        accounted=rows is not None,
        note=_note(no_queue, no_accounting),
    )


def _or_why(act: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return act(), ""
    except SlurmError as error:
        return None, str(error)


def _note(no_queue: str, no_accounting: str) -> str:
    if no_queue and no_accounting:
        return (
            f"SLURM does not answer ({no_queue}): shown is what the store and the attempts on "
            "disk tell"
        )
    if no_accounting:
        return (
            f"no accounting ({no_accounting}): shown are the queue and the store; how jobs ended, "
            "their memory and their GPU hours are not known"
        )
    return f"no queue ({no_queue}): shown is what accounting knew last" if no_queue else ""


def _joined(
    rows: Mapping[str, list[Row]], queue: Mapping[str, Queued], ids: set[str]
) -> dict[str, list[Row]]:
    """Accounting's rows, with the queue's word on what it has not written down as ended."""
    joined = {job: list(found) for job, found in rows.items()}
    for job, entry in queue.items():
        if job.split("_")[0] not in ids:
            continue
        own = joined.setdefault(job, [])
        if (own and own[-1].state in _BEGUN_AGAIN) or not own:
            own.append(_waiting(entry))
        elif own[-1].state in LIVE:
            reason = entry.reason if entry.state == "PENDING" else own[-1].reason
            own[-1] = replace(own[-1], state=entry.state, reason=reason)
    return joined


def _waiting(entry: Queued) -> Row:
    return Row(
        state=entry.state,
        reason=entry.reason,
        node=entry.node,
        partition=entry.partition,
        gpus=gres_gpus(entry.gres),
    )


def _sacct(ids: Sequence[str]) -> dict[str, list[Row]]:
    command = ("sacct", "-n", "-P", "-D", "-o", ",".join(_FIELDS), "-j", ",".join(ids))
    return parse(run(*command))


def parse(text: str) -> dict[str, list[Row]]:
    """The output of sacct, with duplicates and steps, by job.

    A row for several waiting elements ("7_[3-5%2]") lags behind the elements' own rows: it
    tells only of those that have none.
    """
    own: dict[str, list[Row]] = defaultdict(list)
    waiting: dict[str, Row] = {}
    for line in text.splitlines():
        values = dict(zip(_FIELDS, line.split("|"), strict=False))
        job = values["JobID"]
        if "." in job:
            base = job.split(".")[0]
            if own[base]:
                own[base][-1] = _with_step(own[base][-1], values)
        elif "[" in job:
            waiting.update(dict.fromkeys(_expanded(job), _row(values)))
        else:
            own[job].append(_row(values))
    rows = {job: found for job, found in own.items() if found}
    return {**{job: [row] for job, row in waiting.items() if job not in rows}, **rows}


def _row(values: Mapping[str, str]) -> Row:
    state, _, by = values["State"].partition(" by ")
    code, _, number = values["ExitCode"].partition(":")
    node = values["NodeList"]
    return Row(
        state=state.split("+")[0].strip(),
        cancelled_by=by,
        exit_code=int(code or 0),
        signal=int(number or 0),
        reason="" if values["Reason"] == "None" else values["Reason"],
        node="" if node == "None assigned" else node,
        elapsed_s=float(values["ElapsedRaw"] or 0),
        gpus=_tres_gpus(values["AllocTRES"]),
        partition=values["Partition"],
    )


def _with_step(row: Row, values: Mapping[str, str]) -> Row:
    return replace(row, max_rss_bytes=max(row.max_rss_bytes, _bytes(values["MaxRSS"])))


def _bytes(text: str) -> int:
    number = text.rstrip("KMGT")
    return round(float(number) * _UNITS[text[len(number) :]]) if number else 0


def _tres_gpus(tres: str) -> int:
    """GPUs in "cpu=1,gres/gpu:a10=2,gres/gpu=2": the untyped count if it is there."""
    counts = {
        name: int(value)
        for name, _, value in (part.partition("=") for part in tres.split(","))
        if name.startswith("gres/gpu") and value.isdigit()
    }
    return counts.get("gres/gpu", sum(counts.values()))


def _expanded(job: str) -> Iterator[str]:
    """Ids of the elements in "7_[0,3-5%2]"."""
    match = _ARRAY.fullmatch(job)
    for item in match["items"].split(",") if match else ():
        first, _, last = item.partition("-")
        if first.isdigit():
            for n in range(int(first), int(last or first) + 1):
                yield f"{match['job']}_{n}" if match else job
