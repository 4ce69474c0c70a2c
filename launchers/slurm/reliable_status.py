"""What is known of a sweep's jobs before something is submitted: all of it, or an error."""

from __future__ import annotations

import time
from dataclasses import replace

from launchers.slurm.cluster.commands import SlurmError
from launchers.slurm.cluster.queue import cancel_ghosts, unanswered
from launchers.slurm.status import UNTRACED, JobTable, table
from sweeper.planning.sweep import Sweep
from sweeper.results import launcher_record
from sweeper.store.store import Store

_LAG_S = 30.0


def reliable(sweep: Sweep, store: Store) -> JobTable:
    """The table, but only if SLURM answers: else what runs already would be submitted twice.

    Raises:
        SlurmError: neither accounting nor the queue can be asked.
    """
    cancel_ghosts(unanswered(launcher_record.submissions(sweep.path)))
    known = table(sweep.path, store)
    if not known.known:
        raise SlurmError(known.note)
    return known


def noticed(sweep: Sweep, store: Store) -> JobTable:
    """The table once it shows a job that ended badly, which accounting may say late."""
    until = time.monotonic() + _LAG_S
    while True:
        known = reliable(sweep, store)
        ended = any(s.state in ("ended", "blocked", "failed") for s in known.stages.values())
        if ended or time.monotonic() > until:
            return known
        time.sleep(1.0)


def settled(sweep: Sweep, store: Store, dependency: str) -> JobTable:
    """The table once accounting has caught up with the jobs that a round has waited for.

    They are over, or the round would not run; accounting may lag behind. What it still
    takes for alive after a while is lost.

    Args:
        sweep: the sweep.
        store: its store.
        dependency: of the round, as sbatch got it.
    """
    over = set(dependency.split(":")[1:])
    until = time.monotonic() + _LAG_S
    while True:
        known = reliable(sweep, store)
        late = {k for k, s in known.stages.items() if s.live and s.job.split("_")[0] in over}
        unsure = any(s.reason == UNTRACED for s in known.stages.values())
        if not (late or unsure) or time.monotonic() > until:
            break
        time.sleep(1.0)
    lost = {
        key: replace(
            known.stages[key],
            state="ended",
            cause="lost",
            again=True,
            reason="its job is over, and SLURM's accounting does not say how",
        )
        for key in late
    }
    return replace(known, stages={**known.stages, **lost})
