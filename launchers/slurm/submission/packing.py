"""Which stages share a SLURM job: a pure function of the stages, without SLURM or disk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass

from launchers.schedule import estimate
from launchers.slurm.resources.resources import Resources, joined, may_share
from sweeper.store.store import Spec

FULL = 0.8
"""A job is filled up to this share of its time limit by what its stages are expected to take."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What one SLURM job does.

    Attributes:
        keys: its stages, parents before children.
        bulk: those of them whose checkpoint is needed even if their result is there.
        resources: what the job asks for.
        parents: keys of stages outside it that must be done first; none that another
            one of them rests on.
        seconds: expected.
        apart: whether it shares no job with others: an evaluation that is repeated to see how
            far equal ones are apart must be free to run on another node.
    """

    keys: tuple[str, ...]
    bulk: frozenset[str]
    resources: Resources
    parents: frozenset[str]
    seconds: float
    apart: bool = False


def pack(
    specs: Mapping[str, Spec],
    needed: Mapping[str, bool],
    waiting: Set[str],
    request: Callable[[Spec], Resources],
    *,
    by: str,
) -> list[Unit]:
    """The jobs for all stages of ``needed``, parents before children.

    Args:
        specs: all stages by key, parents before children.
        needed: the stages to be carried out -> whether for their bulk.
        waiting: stages outside ``needed`` that are not done yet (in other jobs).
        request: what a stage asks for.
        by: "stage": each in a job of its own. "cell": the stages that serve one checkpoint
            alone run in one job, if they may run in one place and fit its time limit; what
            several checkpoints rest on (a pruned model, say) stays a job of its own.
    """
    ordered = [key for key in specs if key in needed]
    groups = [[key] for key in ordered]
    if by == "cell":
        groups = [
            part
            for group in _by_checkpoint(specs, ordered)
            for part in _fitting(group, specs, request)
        ]
    ancestry = _Ancestry(specs, needed.keys() | waiting)
    units = [_unit(group, specs, needed, waiting, request, ancestry) for group in groups]
    position = {key: n for n, key in enumerate(ordered)}
    return sorted(units, key=lambda unit: position[unit.keys[0]])


def _by_checkpoint(specs: Mapping[str, Spec], ordered: list[str]) -> Iterable[list[str]]:
    """Groups of stages that all serve the same checkpoint and nothing else."""
    children: dict[str, list[str]] = defaultdict(list)
    for key in ordered:
        for parent in specs[key].get("parents", {}).values():
            children[parent["key"]].append(key)
    served: dict[str, str] = {}
    for key in reversed(ordered):
        below = {served[child] for child in children[key]}
        if not below:
            served[key] = f"checkpoint {_read(specs[key])} {_rerun(specs[key])}"
        else:
            served[key] = below.pop() if len(below) == 1 else f"stage {key}"
    groups: dict[str, list[str]] = defaultdict(list)
    for key in ordered:
        groups[served[key]].append(key)
    return groups.values()


def _rerun(spec: Spec) -> int:
    """1, 2, ... of an evaluation that is done once more; else 0."""
    return int(spec["params"].get("rerun") or 0)


def _read(spec: Spec) -> str:
    """Names the checkpoint that a stage reads."""
    parents: Mapping[str, Spec] = spec.get("parents", {})
    if parents:
        return str((parents.get("model") or next(iter(parents.values())))["key"])
    return str(spec.get("sources", {}).get("model", spec["key"]))


def _fitting(
    group: list[str], specs: Mapping[str, Spec], request: Callable[[Spec], Resources]
) -> Iterable[list[str]]:
    """The group whole, or one by one if it may not or does not fit into one job."""
    requests = [request(specs[key]) for key in group]
    seconds = sum(estimate(specs[key]) for key in group)
    if may_share(requests) and seconds <= FULL * max(one.seconds for one in requests):
        return [group]
    return [[key] for key in group]


def _unit(
    group: list[str],
    specs: Mapping[str, Spec],
    needed: Mapping[str, bool],
    waiting: Set[str],
    request: Callable[[Spec], Resources],
    ancestry: _Ancestry,
) -> Unit:
    outside = {
        parent["key"]
        for key in group
        for parent in specs[key].get("parents", {}).values()
        if parent["key"] not in group and (parent["key"] in needed or parent["key"] in waiting)
    }
    return Unit(
        keys=tuple(group),
        bulk=frozenset(key for key in group if needed[key]),
        resources=joined([request(specs[key]) for key in group]),
        parents=ancestry.nearest(outside),
        seconds=sum(estimate(specs[key]) for key in group),
        apart=any(_rerun(specs[key]) for key in group),
    )


class _Ancestry:
    """Who waits for whom; what is done holds nobody up."""

    def __init__(self, specs: Mapping[str, Spec], undone: Set[str]) -> None:
        self._above: dict[str, frozenset[str]] = {}
        for key, spec in specs.items():
            parents = {p["key"] for p in spec.get("parents", {}).values()} & undone
            self._above[key] = frozenset(parents).union(*(self._above[p] for p in parents))

    def nearest(self, keys: set[str]) -> frozenset[str]:
        """Those of ``keys`` on which no other of them rests."""
        implied = {above for key in keys for above in self._above[key]}
        return frozenset(keys - implied)
