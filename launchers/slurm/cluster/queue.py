"""Jobs of ours in SLURM's queue: those nobody answered for, and all of a sweep, to cancel them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from launchers.slurm import records
from launchers.slurm.cluster.commands import run
from launchers.slurm.records import Json
from sweeper.results import launcher_record


def unanswered(submitted: Sequence[Json]) -> list[str]:
    """Names of arrays whose submission was begun, and that have no job in the record."""
    entries = [entry for record in submitted for entry in (*record["arrays"], record["round"])]
    return [e["name"] for e in entries if e and not (e.get("jobs") or e.get("job"))]


def cancel_ghosts(names: Sequence[str]) -> None:
    """Cancel jobs that SLURM has under these names (ours, unique) though we got no answer."""
    if ghosts := _ghosts(names):
        run("scancel", *ghosts)


def _ghosts(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    listed = run("squeue", "--me", "-h", "-o", "%A", "--name", ",".join(names)).split()
    return sorted(set(listed), key=int)


def cancel(sweep: Path, announce: Callable[[list[str]], None]) -> list[str]:
    """Cancel all that is queued or running of a sweep, its repair rounds included.

    Only jobs that the sweep itself has recorded or named are touched; ``announce`` is told
    which, before anything happens to them.

    Returns:
        The ids of the jobs.

    Raises:
        SlurmError: SLURM does not answer.
    """
    submitted = launcher_record.submissions(sweep)
    ghosts = _ghosts(unanswered(submitted))
    known = {element.job for element in records.elements(sweep, submitted)}
    known |= {record["round"]["job"] for record in submitted if record["round"].get("job")}
    listed = run("squeue", "--me", "-h", "-r", "-o", "%i").split()
    jobs = [*ghosts, *sorted(known.intersection(listed).difference(ghosts))]
    if jobs:
        announce(jobs)
        run("scancel", *jobs)
    return jobs
