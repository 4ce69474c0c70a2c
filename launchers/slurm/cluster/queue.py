"""This user's jobs in SLURM's queue: what squeue says, and how those of a sweep are cancelled."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launchers import leases
from launchers.slurm import records
from launchers.slurm.cluster.commands import SlurmError, run
from launchers.slurm.records import Element, Json
from sweeper.planning.sweep import Sweep
from sweeper.results import launcher_record
from sweeper.store.reader import called
from sweeper.store.spec import Spec

_FORMAT = "%i|%T|%r|%N|%P|%b|%j"  # a stranger's name may hold anything: it comes last


@dataclass(frozen=True, kw_only=True)
class Queued:
    """A job of ours that waits or runs.

    Attributes:
        job: SLURM's id: "12", "12_3".
        name: what it is called.
        state, reason: SLURM's words; the reason is why it waits, "" if there is none.
        node, partition, gres: where it runs, and what it has there.
    """

    job: str
    name: str
    state: str
    reason: str
    node: str
    partition: str
    gres: str


def mine() -> dict[str, Queued]:
    """All jobs of this user that wait or run, by id, elements of arrays one by one.

    Raises:
        SlurmError: squeue does not answer.
    """
    found = {}
    for line in run("squeue", "--me", "-h", "-r", "-o", _FORMAT).splitlines():
        parts = line.split("|", 6)
        if len(parts) == 7:  # "CLUSTER: name" heads the list where a cluster is named
            job, state, reason, node, partition, gres, name = parts
            found[job] = Queued(
                job=job,
                name=name,
                state=state,
                reason="" if reason == "None" else reason,
                node=node,
                partition=partition,
                gres=gres.replace("gres:", ""),
            )
    return found


def _entries(record: Json) -> list[Json]:
    """What a submission has given to sbatch, call by call."""
    return [*record["arrays"], record["round"], *record.get("watches", ())]


def unanswered(submitted: Sequence[Json]) -> list[str]:
    """Names of arrays whose submission was begun and not ended: nobody will let them run."""
    entries = [entry for record in submitted for entry in _entries(record)]
    return [e["name"] for e in entries if e and _is_left(e)]


def _is_left(entry: Json) -> bool:
    """Whether a submission died over an array: without an answer, or before it was let go."""
    return not (entry.get("jobs") or entry.get("job")) or bool(entry.get("held"))


def cancel_ghosts(names: Sequence[str]) -> None:
    """Cancel jobs that SLURM has under these names (ours, unique) though we got no answer."""
    if names and (ghosts := _ghosts(names, mine())):
        run("scancel", *ghosts)


def _ghosts(names: Sequence[str], queue: Mapping[str, Queued]) -> list[str]:
    bases = {entry.job.split("_")[0] for entry in queue.values() if entry.name in names}
    return sorted(bases, key=int)


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """What became of the jobs of a sweep that was to be stopped.

    Attributes:
        jobs: those that were cancelled.
        left: what still works or waits, each with the reason why it was left alone.
    """

    jobs: Sequence[str]
    left: Sequence[str] = ()


def cancel(sweep: Path, announce: Callable[[list[str]], None]) -> Cancelled:
    """Cancel all that is queued or running of a sweep, its repair rounds included.

    Only jobs are touched that the sweep has recorded, that SLURM has under the name which
    they were given, and that are this user's; ``announce`` is told which beforehand.

    Raises:
        SlurmError: SLURM does not answer.
    """
    submitted = launcher_record.submissions(sweep)
    names = _names(submitted)
    queue = mine()
    ghosts = _ghosts(unanswered(submitted), queue)
    known = [queue[job] for job in sorted(names.keys() & queue.keys())]
    own = [entry.job for entry in known if entry.name == names[entry.job]]
    jobs = [*ghosts, *(job for job in own if job.split("_")[0] not in ghosts)]
    left = [
        f"job {entry.job} is called {entry.name}, not {names[entry.job]}: it is not ours"
        for entry in known
        if entry.name != names[entry.job]
    ]
    if jobs:
        announce(jobs)
        try:
            run("scancel", *jobs)
        except SlurmError as error:  # it goes on with the others
            left.append(str(error))
    return Cancelled(jobs=jobs, left=[*left, *_of_others(sweep, submitted, {*names})])


def _names(submitted: Sequence[Json]) -> dict[str, str]:
    """Every recorded job -> its name."""
    entries = [entry for record in submitted for entry in _entries(record)]
    return {
        job: entry["name"]
        for entry in entries
        if entry
        for job in (*entry.get("jobs", ()), *filter(None, [entry.get("job")]))
    }


def _of_others(sweep: Path, submitted: Sequence[Json], own: set[str]) -> list[str]:
    """What other users have submitted, and who else works on the sweep's stages just now."""
    me = getpass.getuser()
    others = [r for r in submitted if r["user"] != me and not records.is_over(sweep, r)]
    said = [
        f"{r['user']} submitted {sum(len(a['jobs']) for a in r['arrays'])} jobs on {r['created']}: "
        f"only {r['user']} can cancel them"
        for r in others
    ]
    home = sweep.parent.parent
    specs: Mapping[str, Spec] = {}
    for key in sorted({key for e in records.elements(sweep, list(submitted)) for key in e.keys}):
        holder = leases.holder(leases.of_stage(home, key))
        if holder is not None and holder.job not in own:
            specs = specs or Sweep(home, sweep.name).load()["stages"]
            said.append(f"{holder} works on {called(specs[key]) if key in specs else key}")
    return said


def not_shown(element: Element) -> bool:
    """Whether a job is another user's, so that SLURM may hide it."""
    return element.user != getpass.getuser()
