"""``isorate cancel``: stop what is queued or running of a submitted sweep."""

from __future__ import annotations

import sys

from sweeper.cli.request import Request
from sweeper.errors import BadInput
from sweeper.results import launcher_record


def perform(request: Request) -> int:
    """Cancel a sweep's jobs; what is finished stays. 1 if something could not be cancelled."""
    sweep = request.sweep
    sweep.load()
    launcher = launcher_record.launcher(sweep.path)
    if launcher is None and (original := launcher_record.copied_from(sweep.path)):
        raise BadInput(
            "home",
            request.home,
            f"it is a copy of {original}, from which the jobs of {sweep.name} were submitted.",
            f"Theirs: isorate cancel {sweep.name} home={original}",
        )
    if launcher is None:
        raise BadInput(
            "name",
            sweep.name,
            "nothing of it was submitted to a cluster.",
            "A local run is stopped with Ctrl-C where it runs.",
        )
    done = launcher.cancel(sweep.path, lambda ids: _say(sweep.name, ids))
    text = f"{len(done.jobs)} jobs of {sweep.name} cancelled; isorate run goes on where it was"
    request.answer(
        {"name": sweep.name, "cancelled": list(done.jobs), "left": list(done.left)},
        "\n".join([text, *(f"Not cancelled: {why}" for why in done.left)]),
    )
    return 1 if done.left else 0


def _say(name: str, jobs: list[str]) -> None:
    """Which jobs go, before they do; on stderr, since stdout may be JSON."""
    print(f"Cancelling {len(jobs)} jobs of {name}: {' '.join(jobs)}", file=sys.stderr, flush=True)
