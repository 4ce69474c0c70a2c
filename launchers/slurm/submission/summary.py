"""What a submission will look like: jobs, arrays and GPU hours, before anything is submitted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

from launchers.slurm.cluster.limits import Limit
from launchers.slurm.submission.arrays import Array
from launchers.slurm.submission.packing import Unit


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A submission in numbers.

    Attributes:
        jobs, arrays: how many; the repair-and-collect job not counted.
        widest: jobs that may run at a time, of all arrays together.
        gpu_hours: GPUs times expected hours.
        cpu_hours: cores times expected hours.
        sources: how many jobs' hours are measured, scaled from measured ones, or (where
            nothing was measured) the time that they ask for.
        requests: how many jobs ask for what, the most frequent first.
        waves: in how many submissions, one after the other, since the site has a limit on the
            jobs of a user; 0: there is no place just now.
        limit: which one, in words; "" if it does not matter.
    """

    jobs: int
    arrays: int
    widest: int
    gpu_hours: float
    cpu_hours: float
    sources: Mapping[str, int] = field(default_factory=dict)
    requests: Sequence[tuple[str, int]] = ()
    waves: int = 1
    limit: str = ""

    def text(self) -> str:
        """For people, as `isorate plan` shows it."""
        words = {
            "measured": "measured",
            "scaled": "scaled from measured stages",
            "requested": "at most, by the time they ask for: nothing is measured yet",
        }
        hours = ", ".join(f"{count} jobs {words[name]}" for name, count in self.sources.items())
        lines = [
            f"Jobs:   {self.jobs} in {self.arrays} arrays, at most {self.widest} at a time",
            f"Hours:  {self.gpu_hours:.1f} GPU hours, {self.cpu_hours:.1f} core hours ({hours})",
        ]
        lines += [f"        {count} x {asked}" for asked, count in self.requests]
        if self.limit:
            lines.append(f"Waves:  {self.waves or 'no place now'} ({self.limit})")
        return "\n".join(lines if self.jobs else ["Jobs:   none, all is done"])


def shape(
    arrays: Sequence[Array],
    estimates: Mapping[str, Any],
    parallelism: int,
    limit: Limit | None = None,
) -> Shape:
    """Count a submission up; see `Shape`."""
    units = [unit for array in arrays for unit in array.units]
    timed = [(u, *_seconds(u, a, estimates)) for a in arrays for u in a.units]
    return Shape(
        jobs=len(units),
        arrays=len(arrays),
        widest=sum(_width(array, parallelism) for array in arrays),
        gpu_hours=sum(u.resources.gpus * seconds for u, seconds, _ in timed) / 3600,
        cpu_hours=sum(u.resources.cores * seconds for u, seconds, _ in timed) / 3600,
        sources=dict(Counter(source for _, _, source in timed)),
        requests=Counter(_described(unit) for unit in units).most_common(),
        **_waves(len(units), limit),
    )


def _waves(jobs: int, limit: Limit | None) -> dict[str, Any]:
    """How often as much is submitted as fits; a place is kept for the round that goes on."""
    if limit is None or limit.free > jobs:
        return {}
    each = limit.free - 1
    words = f"{limit.why} is {limit.most}, {limit.used} are queued or running"
    return {"waves": ceil(jobs / each) if each > 0 else 0, "limit": words}


def _width(array: Array, parallelism: int) -> int:
    return min(array.width or parallelism, parallelism, len(array.units))


def _seconds(unit: Unit, array: Array, estimates: Mapping[str, Any]) -> tuple[float, str]:
    """Expected seconds of a job, and the weakest source that they rest on."""
    if array.pulls:
        alone = replace(unit, keys=tuple(array.pulls))
        seconds, source = _seconds(alone, replace(array, pulls={}), estimates)
        whole = len(array.units) * unit.seconds
        return (
            (unit.seconds, source)
            if source == "requested" and whole
            else (seconds / len(array.units), source)
        )
    found = [estimates.get(key) for key in unit.keys]
    sources = {estimate.source for estimate in found if estimate is not None}
    if None in found or "assumed" in sources:
        return unit.resources.seconds, "requested"
    seconds = sum(estimate.seconds for estimate in found if estimate is not None)
    return seconds, "scaled" if "scaled" in sources else "measured"


def _described(unit: Unit) -> str:
    asked = unit.resources
    parts = [
        f"partition {asked.partition or '(default)'}",
        f"{asked.gpus} {asked.gpu_kind or 'GPU'}" if asked.gpus else "no GPU",
        f"{asked.cores} cores",
        f"{asked.memory[1]:g} GB" if asked.memory else "default memory",
        f"{asked.timeout_min} min",
    ]
    return ", ".join(parts)
