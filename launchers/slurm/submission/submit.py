"""Submission through submitit: arrays in order, each recorded as soon as SLURM has it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from launchers.slurm import records
from launchers.slurm.cluster.commands import SlurmError, outside_of_jobs, patiently, run
from launchers.slurm.cluster.queue import cancel_ghosts
from launchers.slurm.records import Json
from launchers.slurm.resources.resources import Resources
from launchers.slurm.submission.arrays import Array, dependency
from launchers.slurm.submission.packing import Unit
from sweeper.inputs import hub_cache
from sweeper.store import files

STOCK_ARRAY = 1001
"""MaxArraySize where a site does not set it."""


def largest_array(patience_s: float, say: Callable[[str], None]) -> int:
    """Most elements that this site allows in an array."""
    text = patiently(lambda: run("scontrol", "show", "config"), patience_s, say)
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "MaxArraySize" and value.strip().isdigit():
            return max(1, int(value))
    return STOCK_ARRAY


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
        memory: stage key -> factor on the memory it asks for.
        wanted: keys of the stages that were asked for.
    """

    sweep: Path
    launcher: Mapping[str, Any]
    number: int
    parallelism: int
    timeouts: int
    patience_s: float
    say: Callable[[str], None]
    memory: Mapping[str, float] = field(default_factory=dict)
    wanted: Sequence[str] = ()
    name: str = field(default_factory=records.new_submission)
    jobs: list[list[str]] = field(default_factory=list)
    _arrays: list[Json] = field(default_factory=list)
    _round: Json = field(default_factory=dict)
    _head: Json = field(default_factory=records.who)

    @property
    def folder(self) -> Path:
        """Where submitit keeps scripts, pickles and logs."""
        return self.sweep / "jobs" / self.name

    def arrays(
        self,
        planned: Sequence[Array],
        payload: Callable[[Unit], Callable[[], object]],
        prepared: Callable[[Resources], Resources],
    ) -> None:
        """Submit arrays in their order.

        Args:
            planned: each with edges to earlier ones only.
            payload: what an element runs.
            prepared: adds what all jobs need (threads, offline mode) to a request.

        Raises:
            SlurmError: refused. What was submitted before stays, and is recorded.
        """
        for array in planned:
            after = dependency(array.edges, self.jobs)
            entry: Json = {
                "name": f"isorate-{self.name}-{len(self._arrays)}", "jobs": [],
                "units": [list(unit.keys) for unit in array.units], "dependency": after,
                "seconds": [round(unit.seconds, 1) for unit in array.units],
            }  # fmt: skip
            self._arrays.append(entry)
            self._write()
            functions = [payload(unit) for unit in array.units]
            entry["jobs"] = self._sbatch(entry["name"], functions, prepared(array.resources), after)
            self.jobs.append(entry["jobs"])
        self._write()

    def round(self, function: Callable[[], object], resources: Resources, also: set[str]) -> None:
        """Submit the job that repairs and collects once all others have ended.

        Args:
            function: what it runs.
            resources: what it asks for.
            also: ids of jobs of earlier submissions to wait for.
        """
        bases = {job.split("_")[0] for jobs in self.jobs for job in jobs}
        after = "afterany:" + ":".join(sorted(bases | {job.split("_")[0] for job in also}, key=int))
        name = f"isorate-{self.name}-round"
        self._round = {"number": self.number, "name": name, "job": "", "dependency": after}
        self._write()
        (self._round["job"],) = self._sbatch(self._round["name"], [function], resources, after)
        self._write()

    def _sbatch(
        self, name: str, functions: Sequence[Callable[[], object]], asked: Resources, after: str
    ) -> list[str]:
        """Ids of the jobs; a try that got no answer but got through is cancelled first."""
        return patiently(
            lambda: self._submitit(name, functions, asked, after),
            self.patience_s, self.say, between=lambda: cancel_ghosts([name]),
        )  # fmt: skip

    def _submitit(
        self, name: str, functions: Sequence[Callable[[], object]], asked: Resources, after: str
    ) -> list[str]:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        from launchers.slurm.submission.executor import Executor

        logging.getLogger("submitit").setLevel(logging.WARNING)
        files.private(self.folder)  # what lies there is unpickled by the jobs
        try:
            with outside_of_jobs():
                executor = Executor(self.folder, max_num_timeout=self.timeouts, python=asked.python)
                executor.update_parameters(**asked.parameters(name, after, self.parallelism))
                return [str(job.job_id) for job in executor.submit_array(functions)]
        except (FailedJobError, FailedSubmissionError) as refused:
            raise SlurmError(f"sbatch: {refused}") from refused
        except RuntimeError as missing:  # submitit looks for srun
            hint = "Use hydra/launcher=local on a single machine."
            raise SlurmError(f"{missing} {hint}") from missing

    def _write(self) -> None:
        record = self._head | {
            "submission": self.name, "launcher": dict(self.launcher), "arrays": self._arrays,
            "round": self._round, "memory": dict(self.memory), "wanted": list(self.wanted),
        }  # fmt: skip
        files.write_whole(self.sweep / "jobs" / f"{self.name}.json", record)


def prepared(asked: Resources, *, threads: int, offline: bool) -> Resources:
    """A request whose job sets thread counts before any library is imported, and stays offline."""
    from sweeper.worker.process import THREAD_VARIABLES

    lines = [f"export {name}={threads}" for name in THREAD_VARIABLES]
    lines.append("export TOKENIZERS_PARALLELISM=false")
    if offline:
        lines += [f"export {name}=1" for name in hub_cache.OFFLINE]
    return replace(asked, setup=(*lines, *asked.setup))
