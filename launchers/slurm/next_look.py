"""What the last job of a look does for a race: decide the look, and submit the next one.

Nothing stays resident: the jobs of a look are a submission like any other, with a last job of its
own. Killed at any point and started again, it finds what was decided and what was submitted.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from launchers.base import PlanLauncher
from launchers.slurm.submission.pending import Submitting
from sweeper.planning.sweep import Sweep
from sweeper.results import launcher_record
from sweeper.results.race import advance
from sweeper.store.store import Store

Json = dict[str, Any]

log = logging.getLogger(__name__)


def submit(launcher: PlanLauncher, sweep: Sweep, store: Store) -> Json:
    """Decide what can be decided, and submit the look that follows.

    A look of which something was given up is left alone, as other work is: the next `isorate run`
    tries it again.

    Returns:
        "race": {"look", "over", "submitted"}, for the record of the round; {} without a race.

    Raises:
        IsorateError: no race can be held over these answers, or SLURM refuses.
    """
    if advance.under_way(sweep) is None:
        return {}
    now = advance.advance(sweep, store)
    stages = advance.specs(now, store)
    new = {spec["key"] for spec in stages} - _submitted(sweep.path)
    if new and not now.over:
        log.info("look %d of the race: %d stages", now.number, len(new))
        observer = Submitting(sweep.name)
        launcher.carry_out(stages, store, observer=observer, logs=sweep.logs)
    return {"race": {"look": now.number, "over": now.over, "submitted": sorted(new)}}


def _submitted(sweep: Path) -> set[str]:
    """Keys of the stages that a whole submission was asked for: one whose last job SLURM has.

    Whoever was killed before that had submitted a part at most.
    """
    whole = [r for r in launcher_record.submissions(sweep) if r.get("round", {}).get("job")]
    return {str(key) for record in whole for key in record["wanted"]}
