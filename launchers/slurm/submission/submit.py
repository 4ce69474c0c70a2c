"""Submission through submitit: arrays in order, each recorded as soon as SLURM has it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from launchers.leases import Lease
from launchers.slurm import records
from launchers.slurm.cluster.commands import SlurmError, outside_of_jobs, patiently, run
from launchers.slurm.cluster.limits import is_refusal
from launchers.slurm.cluster.queue import cancel_ghosts
from launchers.slurm.records import Json
from launchers.slurm.resources.resources import Resources
from launchers.slurm.submission import ties
from launchers.slurm.submission.arrays import Array, Edge, dependency
from launchers.slurm.submission.packing import Unit
from sweeper.errors import IsorateError
from sweeper.inputs import hub_cache
from sweeper.store import files

Payload = Callable[[Array, int, Unit], Callable[[], object]]

_TASKS = re.compile(r"max_array_tasks=(?P<most>\d+)")
MOST_WATCHED = 2000
"""Jobs that one dependency names; sbatch takes some 100,000 letters."""
STOCK_ARRAY = 1001
"""MaxArraySize where a site does not set it."""


def largest_array(patience_s: float, say: Callable[[str], None]) -> int:
    """Most elements that this site allows in an array."""
    text = patiently(lambda: run("scontrol", "show", "config"), patience_s, say)
    most = STOCK_ARRAY
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "MaxArraySize" and value.strip().isdigit():
            most = int(value)
    tasks = _TASKS.search(text)  # SchedulerParameters=...,max_array_tasks=500
    return max(1, min(most, int(tasks["most"])) if tasks else most)


@dataclass(kw_only=True)
class Submission:
    """One submission under way.

    Attributes:
        sweep: directory of the sweep.
        launcher: how to make this launcher again, for those who read the record.
        number: how many repair rounds came before.
        parallelism: most elements of an array at a time.
        timeouts: how often a job may run into its time limit and go on.
        patience_s: how long to wait for a controller that is away.
        say: told what a person should know.
        lease: this process's claim to submit, looked at before each call of sbatch.
        memory: stage key -> factor on the memory it asks for.
        wanted: keys of the stages that were asked for.
        tries: stage key -> how often it was submitted again by a round.
        title: what jobs are called first: the sweep, and what their stages are for.
        follows: the submission that this one repairs while its jobs still work; "" if none.
        jobs, submitted: what SLURM has taken, array by array and job by job.
    """

    sweep: Path
    launcher: Mapping[str, Any]
    number: int
    parallelism: int
    timeouts: int
    patience_s: float
    say: Callable[[str], None]
    lease: Lease | None = None
    memory: Mapping[str, float] = field(default_factory=dict)
    wanted: Sequence[str] = ()
    tries: Mapping[str, int] = field(default_factory=dict)
    title: Callable[[Sequence[Unit]], str] = lambda units: "isorate"
    follows: str = ""
    name: str = field(default_factory=records.new_submission)
    jobs: list[list[str]] = field(default_factory=list)
    submitted: list[Unit] = field(default_factory=list)
    _taken: list[Array] = field(default_factory=list)
    _last: Callable[[Array], int] = field(default=lambda array: 0)
    _arrays: list[Json] = field(default_factory=list)
    _round: Json = field(default_factory=dict)
    _watches: list[Json] = field(default_factory=list)
    _head: Json = field(default_factory=records.who)

    @property
    def folder(self) -> Path:
        """Where submitit keeps scripts, pickles and logs."""
        return self.sweep / "jobs" / self.name

    def arrays(
        self,
        planned: Sequence[Array],
        payload: Payload,
        prepared: Callable[[Resources], Resources],
    ) -> None:
        """Submit arrays in their order.

        Args:
            planned: each with edges to earlier ones only.
            payload: what an element runs (of an array, which has this number).
            prepared: adds what all jobs need (threads, offline mode) to a request.

        Raises:
            SlurmError: refused. What was submitted before stays, and is recorded.
        """
        for array in planned:
            self._last = lambda some: self._as_much_as_fits(some, payload, prepared)
            left = self._as_much_as_fits(array, payload, prepared)
            if left:  # what waits for these is not submitted either
                break
        self._write()

    def _as_much_as_fits(
        self,
        array: Array,
        payload: Payload,
        prepared: Callable[[Resources], Resources],
    ) -> int:
        """Submit an array, or as many of its first elements as the site takes just now.

        Returns:
            How many were left out.
        """
        number = len(array.units)
        after = dependency(array.edges, self.jobs)
        while number:
            units = array.units[:number]
            entry: Json = {
                "name": f"{self.title(units)}-{self.name}-{len(self._arrays)}",
                "jobs": [],
                "units": [list(unit.keys) for unit in units],
                "dependency": after,
                "seconds": [round(unit.seconds, 1) for unit in units],
                **({"pulls": dict(array.pulls)} if array.pulls else {}),
                **({"after": [[] for _ in units], "held": True} if array.waits else {}),
            }
            self._arrays.append(entry)
            self._write()
            try:
                functions = [payload(array, len(self._arrays) - 1, unit) for unit in units]
                entry["jobs"] = self._sbatch(
                    entry["name"],
                    functions,
                    prepared(array.resources),
                    after,
                    array.width,
                    held=bool(array.waits),
                )
            except SlurmError as refused:
                if not is_refusal(str(refused)):  # it may have got through without an answer
                    raise
                self._arrays.pop()
                self._write()
                if number == 1 and not self.jobs:
                    raise
                number //= 2
                continue
            self.jobs.append(entry["jobs"])
            self.submitted += units
            self._taken.append(replace(array, units=units))
            return len(array.units) - number
        return len(array.units)

    def round(self, function: Callable[[], object], resources: Resources, also: set[str]) -> None:
        """Submit the job that repairs and collects once all others have ended.

        Args:
            function: what it runs.
            resources: what it asks for.
            also: ids of jobs of earlier submissions to wait for.
        """
        name = f"{self.title(())}-{self.name}-round"
        while True:
            bases = {job.split("_")[0] for jobs in self.jobs for job in jobs}
            over = sorted(bases | {job.split("_")[0] for job in also}, key=int)
            after = "afterany:" + ":".join(over)
            self._round = {"number": self.number, "name": name, "job": "", "dependency": after}
            self._write()
            try:
                (self._round["job"],) = self._sbatch(name, [function], resources, after)
                break
            except SlurmError as refused:
                if not is_refusal(str(refused)) or not self.jobs:
                    raise
                self._make_room()
                if not self.jobs and not also:  # a round of nothing would only make the next one
                    raise
        self._write()

    @classmethod
    def again(cls, record: Json, **given: Any) -> Submission:
        """One that was made before, to add a watch to it."""
        return cls(
            name=record["submission"],
            number=int(record["round"].get("number", 0)),
            memory=record["memory"],
            wanted=record["wanted"],
            tries=record["tries"],
            follows=record.get("follows", ""),
            _arrays=record["arrays"],
            _round=record["round"],
            _watches=record.get("watches", []),
            _head={key: record[key] for key in records.who()},
            **given,
        )

    def watch(self, function: Callable[[], object], resources: Resources, also: set[str]) -> None:
        """Submit a job that begins as soon as any other ends badly; SLURM drops it if none does.

        Nothing depends on it: where the site refuses it, repair waits for the round.

        Args:
            function: what it runs.
            resources: what it asks for.
            also: ids of jobs of earlier submissions to watch.
        """
        watched = sorted({job for jobs in self.jobs for job in jobs} | also)
        if not watched:
            return
        name = f"{self.title(())}-{self.name}-watch{len(self._watches)}"
        entry: Json = {"name": name, "job": ""}
        self._watches.append(entry)
        self._write()
        after = "?".join(f"afternotok:{job}" for job in watched[:MOST_WATCHED])
        try:
            (entry["job"],) = self._sbatch(name, [function], resources, after)
        except SlurmError as refused:
            if not is_refusal(str(refused)):
                raise
            self._watches.pop()
        self._write()

    def release(self) -> None:
        """Tell the elements of held arrays what they wait for, and let them go.

        What waits for something that the site did not take is cancelled before, and left to a
        later wave.

        Raises:
            SlurmError: SLURM did not take it; none of these jobs will run.
        """
        held = [n for n, array in enumerate(self._taken) if array.waits]
        if not held:
            return
        after: dict[str, str] = {}
        for n in held:
            for element, job in enumerate(self.jobs[n]):
                edges = self._taken[n].waits[element]
                if any(self._is_lacking(edge) for edge in edges):
                    self._leave_out(n, element)
                elif edges:
                    after[job] = ties.dependency(edges, self.jobs)
                    ids = [part.split(":")[1:] for part in after[job].split(",")]
                    self._arrays[n]["after"][element] = [i for each in ids for i in each]
        self._write()
        bases = [self.jobs[n][0].split("_")[0] for n in held]
        ties.tie(after, bases, self.patience_s, self.say)
        for n in held:
            self._arrays[n]["held"] = False
        self._write()

    def _is_lacking(self, edge: Edge) -> bool:
        """Whether a job was not submitted, or was left out for what it waits for."""
        if edge.array is None:
            return False
        if edge.array >= len(self.jobs) or (edge.element or 0) >= len(self.jobs[edge.array]):
            return True
        return not self._arrays[edge.array]["units"][edge.element or 0]

    def _leave_out(self, array: int, element: int) -> None:
        """Cancel a held element; its stages are nobody's again."""
        run("scancel", self.jobs[array][element])
        keys = tuple(self._arrays[array]["units"][element])
        self._arrays[array]["units"][element] = []
        self.submitted = [
            replace(unit, keys=()) if unit.keys == keys else unit for unit in self.submitted
        ]

    def _make_room(self) -> None:
        """Submit half of the last array only: without a round, nothing would ever follow."""
        jobs, array = self.jobs.pop(), self._taken.pop()
        self._arrays.pop()
        del self.submitted[-len(jobs) :]
        run("scancel", jobs[0].split("_")[0])
        if len(jobs) > 1:
            half = replace(array, units=array.units[: len(jobs) // 2])
            self._last(half)

    def _sbatch(
        self,
        name: str,
        functions: Sequence[Callable[[], object]],
        asked: Resources,
        after: str,
        width: int | None = None,
        held: bool = False,
    ) -> list[str]:
        """Ids of the jobs; a try that got no answer but got through is cancelled first."""
        if self.lease is not None and not self.lease.held():
            raise IsorateError(
                "another process has taken over the submission of this sweep, for this one gave "
                "no sign of life; what was submitted stays"
            )
        return patiently(
            lambda: self._submitit(name, functions, asked, after, width or self.parallelism, held),
            self.patience_s,
            self.say,
            between=lambda: cancel_ghosts([name]),
        )

    def _submitit(
        self,
        name: str,
        functions: Sequence[Callable[[], object]],
        asked: Resources,
        after: str,
        width: int,
        held: bool,
    ) -> list[str]:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        from launchers.slurm.submission.executor import Executor

        logging.getLogger("submitit").setLevel(logging.WARNING)
        files.private(self.folder)  # what lies there is unpickled by the jobs
        try:
            with outside_of_jobs():
                executor = Executor(self.folder, max_num_timeout=self.timeouts, python=asked.python)
                executor.update_parameters(**asked.parameters(name, after, width, held=held))
                return [str(job.job_id) for job in executor.submit_array(functions)]
        except (FailedJobError, FailedSubmissionError) as refused:
            raise SlurmError(f"sbatch: {refused}") from refused
        except RuntimeError as missing:  # submitit looks for srun
            hint = "Use hydra/launcher=local on a single machine."
            raise SlurmError(f"{missing} {hint}") from missing

    def _write(self) -> None:
        record = self._head | {
            "submission": self.name,
            "home": str(self.sweep.parent.parent.resolve()),
            "launcher": dict(self.launcher),
            "arrays": self._arrays,
            "round": self._round,
            "memory": dict(self.memory),
            "wanted": list(self.wanted),
            "tries": dict(self.tries),
            **({"watches": self._watches} if self._watches else {}),
            **({"follows": self.follows} if self.follows else {}),
        }
        files.write_whole(self.sweep / "jobs" / f"{self.name}.json", record)


def prepared(asked: Resources, *, threads: int, offline: bool) -> Resources:
    """A request whose job sets thread counts before any library is imported, and stays offline."""
    from sweeper.worker.process import THREAD_VARIABLES

    lines = [f"export {name}={threads}" for name in THREAD_VARIABLES]
    lines.append("export TOKENIZERS_PARALLELISM=false")
    if offline:
        lines += [f"export {name}=1" for name in hub_cache.OFFLINE]
    return replace(asked, setup=(*lines, *asked.setup))
