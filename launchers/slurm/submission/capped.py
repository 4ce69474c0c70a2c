"""Jobs under one cap: as few arrays as there are requests, whose throttles add up to the cap.

SLURM throttles each array by itself, so jobs that are spread over arrays by what they wait for
have no common limit. Here all jobs of one request are elements of one array, whatever they wait
for; each is told its parents after the array was submitted held, and before it is let go. A pure
function, as `arrays`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from launchers.slurm.resources.resources import Resources
from launchers.slurm.submission.arrays import Array, Edge
from launchers.slurm.submission.packing import Unit
from sweeper.errors import BadInput


def arrays(
    units: Sequence[Unit],
    live: Mapping[str, str],
    *,
    slots: int,
    largest: int,
    running: Sequence[str] = (),
) -> list[Array]:
    """Arrays whose widths are ``slots`` together.

    Args:
        units: the jobs, parents before children.
        live: key of a stage in a job of an earlier submission -> SLURM's id of that job.
        slots: most jobs at a time, those of all arrays together.
        largest: most elements of an array.
        running: jobs of earlier submissions, which count too: what they leave of ``slots`` is used,
            and where they leave nothing, their end is waited for.

    Raises:
        BadInput: there are more requests, or more arrays of the largest size, than slots.
    """
    groups = _groups(units, largest)
    if len(groups) > slots:
        raise BadInput(
            "hydra.launcher.array_parallelism",
            slots,
            f"jobs ask for {len({unit.resources for unit in units})} different things in "
            f"{len(groups)} arrays, and each array needs a place of its own; valid: {len(groups)} "
            "or more.",
            "Or let jobs take stages for themselves: hydra.launcher.pack=pull",
        )
    seat = {
        key: (number, element)
        for number, group in enumerate(groups)
        for element, unit in enumerate(group)
        for key in unit.keys
    }
    left = slots - len(set(running))
    first = () if left >= len(groups) else tuple(Edge(job=job, any=True) for job in running)
    widths = shares([_seconds(group) for group in groups], slots if first else left)
    return [
        Array(
            units=tuple(group),
            width=width,
            waits=tuple(_waits(unit, seat, live, first) for unit in group),
        )
        for group, width in zip(groups, widths, strict=True)
    ]


def _groups(units: Sequence[Unit], largest: int) -> list[list[Unit]]:
    """Jobs of one request, at most ``largest`` at a time, parents before children."""
    by_request: dict[Resources, list[Unit]] = defaultdict(list)
    for unit in units:
        by_request[unit.resources].append(unit)
    return [
        same[start : start + largest]
        for same in by_request.values()
        for start in range(0, len(same), largest)
    ]


def _seconds(units: Sequence[Unit]) -> float:
    return sum(unit.seconds for unit in units)


def _waits(
    unit: Unit,
    seat: Mapping[str, tuple[int, int]],
    live: Mapping[str, str],
    first: tuple[Edge, ...],
) -> tuple[Edge, ...]:
    """The parents of a job, each once; what has none here waits for ``first`` as well."""
    found = {
        Edge(job=live[parent])
        if parent in live
        else Edge(array=seat[parent][0], element=seat[parent][1])
        for parent in unit.parents
    }
    if all(edge.array is None for edge in found):
        found |= set(first)
    return tuple(sorted(found, key=lambda e: (e.any, e.job, e.array or 0, e.element or 0)))


def shares(seconds: Sequence[float], slots: int) -> list[int]:
    """Places for each array by its work: one at least, ``slots`` in all."""
    whole = sum(seconds) or 1.0
    widths = [1] * len(seconds)
    for _ in range(slots - len(seconds)):
        # the next place goes where the most work waits for each that is there
        most = max(range(len(seconds)), key=lambda n: (seconds[n] / whole / widths[n], -n))
        widths[most] += 1
    return widths
