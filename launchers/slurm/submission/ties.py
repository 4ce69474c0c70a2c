"""Tells each element of held arrays what it waits for, and lets the arrays go.

sbatch takes one dependency for a whole array. Elements of one array that wait for each other get
theirs by scontrol, all in one process. A job may be given a parent only before that has parents of
its own: where elements still share one record, SLURM takes a chain for a circle. So children come
first, and what SLURM has noted down is read back before anything may start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from launchers.slurm.cluster.commands import SlurmError, patiently, run
from launchers.slurm.submission.arrays import Edge


def dependency(edges: Sequence[Edge], jobs: Sequence[Sequence[str]]) -> str:
    """The conditions of one element as SLURM writes them.

    Args:
        edges: what it waits for.
        jobs: for each array, the ids of its elements.
    """
    kinds: dict[str, list[str]] = {}
    for edge in edges:
        job = edge.job if edge.array is None else jobs[edge.array][edge.element or 0]
        kinds.setdefault("afterany" if edge.any else "afterok", []).append(job)
    return ",".join(":".join([kind, *each]) for kind, each in kinds.items())


def tie(
    after: Mapping[str, str], bases: Sequence[str], patience_s: float, say: Callable[[str], None]
) -> None:
    """Set dependencies and release the arrays; on any trouble all of them are cancelled.

    Args:
        after: SLURM's id of an element -> its dependency; parents before children.
        bases: ids of the arrays, which are held.
        patience_s: how long to wait for a controller that is away before they are let go.
        say: told what a person should know.

    Raises:
        SlurmError: SLURM did not take it; nothing of it will run.
    """
    try:
        children_first = reversed(list(after.items()))
        told = [f"update JobId={job} Dependency={what}" for job, what in children_first]
        if told:
            run("scontrol", given="\n".join([*told, "quit", ""]))
            _check(after, bases)
        patiently(lambda: run("scontrol", "release", *bases), patience_s, say)
    except BaseException:
        say(f"cancelling the arrays {', '.join(bases)}: their order could not be set")
        try:
            run("scancel", *bases)
        except SlurmError as refused:  # what went wrong before is what to know
            say(f"they are still held: scancel {' '.join(bases)} ({refused})")
        raise


def _check(after: Mapping[str, str], bases: Sequence[str]) -> None:
    """Whether each element waits for something, as it was told.

    A parent in the same arrays is held as well; one of an earlier submission may have ended.
    """
    shown = run("squeue", "-h", "-r", "-j", ",".join(bases), "-o", "%i %E")
    waits = dict(line.split(maxsplit=1) for line in shown.splitlines() if " " in line.strip())
    within = {job for job, what in after.items() if any(f":{b}_" in what for b in bases)}
    if lacking := sorted(job for job in within if waits.get(job, "(null)") == "(null)"):
        raise SlurmError(
            f"scontrol: {len(lacking)} jobs were not given what they wait for "
            f"({', '.join(lacking[:3])}); hydra.launcher.pack=pull needs no dependencies"
        )
