"""Jobs that pull: equal elements of one array; each takes the next ready stage, again and again.

Nothing waits in the queue for something else, so a sweep waits there once; a stage whose job
was killed is taken up by the next worker at once; and one array makes its throttle a true cap.
A pure function of the stages, without SLURM or disk.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from launchers.schedule import estimate
from launchers.slurm.resources.resources import Resources, joined, may_share
from launchers.slurm.submission.arrays import Array
from launchers.slurm.submission.capped import shares
from launchers.slurm.submission.packing import FULL, Unit
from sweeper.store.store import Spec


def arrays(
    specs: Mapping[str, Spec],
    needed: Mapping[str, bool],
    request: Callable[[Spec], Resources],
    *,
    slots: int,
    startup_s: float,
) -> list[Array]:
    """One array for all stages, or one for each kind of place that they need.

    Args:
        specs: all stages by key, parents before children.
        needed: those to be carried out.
        request: what a stage asks for.
        slots: most jobs at a time.
        startup_s: seconds that a job takes beside its stages.

    Returns:
        Arrays of equal elements: at most as many at a time as end the work sooner, and as
        many in all as it takes if each leaves before its time limit.
    """
    found = []
    places = _places({key: request(specs[key]) for key in specs if key in needed})
    work = [sum(estimate(specs[key]) for key in keys) for keys in places]
    enough = max(slots, len(places))  # every kind of place needs a worker
    for keys, seconds, share in zip(places, work, shares(work, enough), strict=True):
        resources = joined([request(specs[key]) for key in keys])
        width = min(share, _useful(specs, keys), len(keys))
        each = max(FULL * resources.seconds - startup_s, 1.0)
        count = max(width, min(math.ceil(seconds / each), len(keys)))
        one = Unit(
            keys=(),
            bulk=frozenset(),
            resources=resources,
            parents=frozenset(),
            seconds=seconds / count,
        )
        pulls = {key: round(estimate(specs[key]), 2) for key in keys}
        found.append(Array(units=(one,) * count, pulls=pulls, width=width))
    return found


def fewer(planned: Sequence[Array], most: int, largest: int | None = None) -> list[Array]:
    """The same with at most so many elements in all (but one in each), and in each array."""
    found, left = [], most - len(planned)
    for array in planned:
        extra = min(len(array.units) - 1, max(0, left), (largest or most) - 1)
        left -= extra
        found.append(replace(array, units=array.units[: 1 + extra]))
    return found


def _places(requests: Mapping[str, Resources]) -> list[list[str]]:
    """Stages that may be carried out in the same jobs; those without GPUs join some with."""
    groups: list[list[str]] = []
    for key in sorted(requests, key=lambda key: -requests[key].gpus):
        for group in groups:
            if may_share([requests[group[0]], requests[key]]):
                group.append(key)
                break
        else:
            groups.append([key])
    return groups


def _useful(specs: Mapping[str, Spec], keys: Sequence[str]) -> int:
    """How many jobs at a time end the work sooner: all the work, by the longest chain in it."""
    own = set(keys)
    chain: dict[str, float] = defaultdict(float)
    for key in (key for key in specs if key in own):
        above = [chain[p["key"]] for p in specs[key].get("parents", {}).values()]
        chain[key] = estimate(specs[key]) + max(above, default=0.0)
    return math.ceil(sum(estimate(specs[key]) for key in keys) / max(chain[key] for key in keys))
