"""``isorate cancel``: stop what is queued or running of a submitted sweep."""

from __future__ import annotations

import sys

from sweeper.cli.request import Request
from sweeper.errors import BadInput
from sweeper.results import launcher_record


def perform(request: Request) -> int:
    """Cancel a sweep's jobs; what is finished stays, and `run` goes on from there."""
    sweep = request.sweep
    sweep.load()
    launcher = launcher_record.launcher(sweep.path)
    if launcher is None:
        raise BadInput(
            "name", sweep.name, "nothing of it was submitted to a cluster.",
            "A local run is stopped with Ctrl-C where it runs.",
        )  # fmt: skip
    jobs = launcher.cancel(sweep.path, lambda ids: _say(sweep.name, ids))
    request.answer(
        {"name": sweep.name, "cancelled": jobs},
        f"{len(jobs)} jobs of {sweep.name} cancelled; isorate run goes on where it was",
    )
    return 0


def _say(name: str, jobs: list[str]) -> None:
    """Which jobs go, before they do; on stderr, since stdout may be JSON."""
    print(f"Cancelling {len(jobs)} jobs of {name}: {' '.join(jobs)}", file=sys.stderr, flush=True)
