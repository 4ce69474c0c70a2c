"""submitit's executor, whose jobs run `launchers.slurm.job.entrypoint`.

Imports submitit: only when used.
"""

from __future__ import annotations

import shlex

from submitit import SlurmExecutor


class Executor(SlurmExecutor):  # type: ignore[misc]  # submitit is not followed by mypy
    """Submits to SLURM."""

    @property
    def _submitit_command_str(self) -> str:
        folder = shlex.quote(str(self.folder))
        return f"{self.python} -u -m launchers.slurm.job.entrypoint {folder}"
