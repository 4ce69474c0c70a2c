"""How the jobs of attempts that say no more ended: whether memory ran out, as far as SLURM tells.

A worker that pulls asks before it takes up a stage whose worker is gone: what ran out of memory
once would end the next equal job just so, and the one after that.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launchers.slurm.cluster.accounting import LIVE, RUNNING, Row, ask
from launchers.slurm.cluster.commands import SlurmError, run
from launchers.slurm.status import classify, tail

Json = Mapping[str, Any]

_SETTLES_S = 10.0
_SHOWN = re.compile(r"\bJobState=(?P<state>[A-Z_]+)|\bExitCode=(?P<code>\d+):(?P<signal>\d+)")


@dataclass
class Deaths:
    """Asks once for each execution of a job.

    Attributes:
        folder: where the jobs of the submission log.
    """

    folder: Path
    _known: dict[tuple[str, int], bool] = field(default_factory=dict)

    def of_memory(self, attempt: Json) -> bool:
        """Whether the job of an attempt without an ending ran out of memory."""
        execution = str(attempt["job"]), int(attempt["restart"])
        if execution not in self._known:
            self._known[execution] = self._ask(attempt)
        return self._known[execution]

    def _ask(self, attempt: Json) -> bool:
        job = str(attempt["job"])
        row = _controller(job) or _accounting(job)
        paths = (Path(str(attempt["log"])), self.folder / f"{job}_0_log.err")
        said = "\n".join(line for path in paths for line in tail(path))
        cause, _, _ = classify(row or Row(state=""), None, said, parents_failed=False)
        return cause == "out of memory"


def _controller(job: str) -> Row | None:
    """How a job ended that the controller still remembers; accounting may lag behind.

    Its process may be gone a moment before the controller knows.
    """
    until = time.monotonic() + _SETTLES_S
    while True:
        try:
            shown = run("scontrol", "show", "job", job, timeout_s=10.0)
        except SlurmError:
            return None
        found: dict[str, str] = {}
        for match in _SHOWN.finditer(shown):
            found |= {name: value for name, value in match.groupdict().items() if value}
        state = found.get("state", "")
        if state in RUNNING and time.monotonic() < until:
            time.sleep(0.5)
            continue
        if not state or state in LIVE:
            return None
        code, signal = int(found.get("code", 0)), int(found.get("signal", 0))
        return Row(state=state, exit_code=code, signal=signal)


def _accounting(job: str) -> Row | None:
    rows = ask({job}).rows.get(job, ())
    return rows[-1] if rows and rows[-1].state not in LIVE else None
