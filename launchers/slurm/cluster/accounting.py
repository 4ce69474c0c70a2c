"""What SLURM says about jobs: one call of sacct for all of them, read into rows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from launchers.slurm.cluster.commands import SlurmError, run
from launchers.slurm.resources.resources import gres_gpus

_FIELDS = (
    "JobID", "State", "ExitCode", "Reason", "NodeList", "ElapsedRaw", "AllocTRES", "MaxRSS",
    "Partition",
)  # fmt: skip
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
        complete: whether a job without a row is unknown to SLURM's accounting (else it may
            have ended without our being told).
        answered: whether SLURM said anything at all.
        note: what is missing and why; empty if nothing is.
    """

    rows: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    complete: bool = True
    answered: bool = True
    note: str = ""


def ask(jobs: Collection[str]) -> Answer:
    """All that SLURM knows of these jobs (ids; an element's array is asked as a whole).

    Without sacct the queue is asked instead, which knows no job that has ended; without
    both, nothing is known. The answer's note says so.
    """
    ids = sorted({job.split("_")[0] for job in jobs}, key=int)
    if not ids:
        return Answer()
    try:
        return Answer(rows=_sacct(ids))
    except SlurmError as no_accounting:
        try:
            rows = _squeue(set(ids))
        except SlurmError as no_queue:
            return Answer(
                complete=False, answered=False,
                note=f"SLURM does not answer ({no_queue}): shown is what the store and the "
                "attempts on disk tell",
            )  # fmt: skip
        return Answer(
            rows=rows, complete=False,
            note=f"no accounting ({no_accounting}): shown are the queue and the store; how jobs "
            "ended, their memory and their GPU hours are not known",
        )  # fmt: skip


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
        state=state.split("+")[0].strip(), cancelled_by=by,
        exit_code=int(code or 0), signal=int(number or 0),
        reason="" if values["Reason"] == "None" else values["Reason"],
        node="" if node == "None assigned" else node,
        elapsed_s=float(values["ElapsedRaw"] or 0), gpus=_tres_gpus(values["AllocTRES"]),
        partition=values["Partition"],
    )  # fmt: skip


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


def _squeue(ids: set[str]) -> dict[str, list[Row]]:
    text = run("squeue", "--me", "-h", "-r", "-o", "%i|%T|%r|%N|%P|%b")
    rows: dict[str, list[Row]] = {}
    for line in text.splitlines():
        job, state, reason, node, partition, gres = line.split("|")
        if job.split("_")[0] in ids:
            rows[job] = [Row(
                state=state, reason="" if reason == "None" else reason, node=node,
                partition=partition, gpus=gres_gpus(gres.replace("gres:", "")),
            )]  # fmt: skip
    return rows
