"""submitit's executor, whose jobs run `launchers.slurm.job.entrypoint`.

Imports submitit: only when used.
"""

from __future__ import annotations

import re
import shlex
import uuid
from typing import Any

from submitit import SlurmExecutor
from submitit.core.utils import FailedSubmissionError, JobPaths
from submitit.slurm.slurm import SlurmJob

_SUBMITTED = re.compile(
    r"^Submitted batch job (?P<id>\d+)(?: on cluster \S+)?[ \t]*$", re.MULTILINE
)
_PARSABLE = re.compile(r"(?P<id>\d+)(?:;\S+)?")


def job_id(said: bytes | str) -> str:
    """The id in what sbatch printed, whatever a site's wrapper says beside it.

    Only sbatch's own line counts, the last one, or the bare id of ``--parsable``: a message
    such as "your last job 4711 wasted 90 %" names a job that is somebody's.

    Raises:
        FailedSubmissionError: there is none.
    """
    text = said if isinstance(said, str) else said.decode(errors="replace")
    found = [match["id"] for match in _SUBMITTED.finditer(text)]
    found += [match["id"] for match in [_PARSABLE.fullmatch(text.strip())] if match]
    if not found:
        raise FailedSubmissionError(f"no line 'Submitted batch job N' in what sbatch said: {text}")
    return str(found[-1])


class Executor(SlurmExecutor):  # type: ignore[misc]  # submitit is not followed by mypy
    """Submits to SLURM."""

    @property
    def _submitit_command_str(self) -> str:
        folder = shlex.quote(str(self.folder))
        return f"{self.python} -u -P -m isorate.start launchers.slurm.job.entrypoint {folder}"

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        return job_id(string)

    def _internal_process_submissions(self, delayed_submissions: list[Any]) -> list[Any]:
        """As submitit's own, whose array is submitted by a class that we cannot choose."""
        if len(delayed_submissions) == 1:
            jobs: list[Any] = super()._internal_process_submissions(delayed_submissions)
            return jobs
        folder = JobPaths.get_first_id_independent_folder(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        pickles = []
        for delayed in delayed_submissions:
            pickles.append(folder / f"{uuid.uuid4().hex}.pkl")
            delayed.set_timeout(self.parameters.get("time", 5), self.max_num_timeout)
            delayed.dump(pickles[-1])
        array = Executor(self.folder, self.max_num_timeout)
        array.update_parameters(**self.parameters)
        array.parameters["map_count"] = len(pickles)
        first = array._submit_command(self._submitit_command_str)
        tasks = list(range(first.num_tasks))
        jobs = [
            SlurmJob(folder=self.folder, job_id=f"{first.job_id}_{n}", tasks=tasks)
            for n in range(len(pickles))
        ]
        for job, pickle in zip(jobs, pickles, strict=True):
            job.paths.move_temporary_file(pickle, "submitted_pickle")
        return jobs
