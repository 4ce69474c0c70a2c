"""What can be refused before anything is submitted, with the valid choices named."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from launchers.slurm.cluster.commands import SlurmError, run
from launchers.slurm.cluster.nodes import NodeGroup
from launchers.slurm.resources.resources import Resources, gres_gpus
from sweeper.errors import BadInput, one_of


def check(requests: Iterable[Resources], groups: Sequence[NodeGroup]) -> None:
    """Refuse requests that no node of the cluster can fulfil.

    Raises:
        BadInput: naming the key and what is valid.
    """
    for asked in requests:
        own = _in_partitions(asked, groups)
        _check_open(own)
        _check_time(asked, own)
        _check_nodes(asked, own)


def _check_open(own: Sequence[NodeGroup]) -> None:
    """Refuse partitions that take no jobs."""
    closed = [group for group in own if group.up not in ("up", "down")]
    if closed and len(closed) == len(own):
        raise BadInput(
            "hydra.launcher.partition",
            closed[0].partition,
            f"it takes no jobs just now ({closed[0].up}).",
            "Name another one, or wait.",
        )


def say_away(
    requests: Iterable[Resources], groups: Sequence[NodeGroup], say: Callable[[str], None]
) -> None:
    """Say where jobs will wait since a partition or all nodes that fit are down or drained."""
    said = set()
    for asked in requests:
        fit = [g for g in _in_partitions(asked, groups) if all(t.fits(g) for t in _tests(asked))]
        if fit and all(group.up == "down" for group in fit):
            said.add(f"partition {fit[0].partition} is down: its jobs wait until it is up again")
        elif fit and not any(group.usable for group in fit):
            what = asked.gpu_kind or asked.constraint or f"partition {fit[0].partition}"
            said.add(f"all nodes for {what} are down or drained: jobs wait until some are back")
    for message in sorted(said):
        say(message)


def _in_partitions(asked: Resources, groups: Sequence[NodeGroup]) -> list[NodeGroup]:
    names = sorted({group.partition for group in groups})
    if asked.partition is None:
        own = [group for group in groups if group.default]
        if not own:
            raise BadInput(
                "hydra.launcher.partition",
                None,
                f"this cluster has no default partition; {one_of(names)}.",
            )
        return own
    for name in asked.partition.split(","):
        if name not in names:
            raise BadInput("hydra.launcher.partition", name, one_of(names) + ".")
    return [group for group in groups if group.partition in asked.partition.split(",")]


def _check_time(asked: Resources, own: Sequence[NodeGroup]) -> None:
    most = max(group.limit_min for group in own)
    if asked.timeout_min > most:
        raise BadInput(
            "hydra.launcher.timeout_min",
            asked.timeout_min,
            f"valid: at most {most:g}, the limit of partition {own[0].partition}.",
            "A job that needs longer goes on by itself where it was; or name another partition.",
        )


def _check_nodes(asked: Resources, own: Sequence[NodeGroup]) -> None:
    fitting = list(own)
    for test in _tests(asked):
        left = [group for group in fitting if test.fits(group)]
        if not left:
            has = sorted({test.shown(group) for group in fitting})
            where = ", ".join(sorted({group.partition for group in own}))
            raise BadInput(
                f"hydra.launcher.{test.key}",
                test.value,
                f"no node of partition {where} has that; its nodes have: {'; '.join(has)}.",
            )
        fitting = left


def largest_memory(asked: Resources, groups: Sequence[NodeGroup]) -> float:
    """GiB of the largest node that has all that a request asks for but the memory."""
    *others, _memory = _tests(asked)
    fits = [g for g in _in_partitions(asked, groups) if all(test.fits(g) for test in others)]
    return max((group.memory_mb / 1024 for group in fits), default=0.0)


@dataclass(frozen=True)
class _Test:
    """A key and its value, what nodes have them, and what a node has instead."""

    key: str
    value: object
    fits: Callable[[NodeGroup], bool]
    shown: Callable[[NodeGroup], str]


def _tests(asked: Resources) -> list[_Test]:
    """All that a node must have; memory comes last."""
    gpus = "gres" if gres_gpus(asked.gres or "") else "gpus_per_node"
    gpus = "gpu_type" if asked.gpu_type else gpus
    cores = "cpus_per_gpu" if asked.cpus_per_gpu and asked.gpus else "cpus_per_task"
    memory, gib = asked.memory or ("mem_gb", 0.0)
    return [
        _Test(gpus, getattr(asked, gpus), lambda g: _has_gpus(asked, g), _shown_gpus),
        _Test(
            "constraint",
            asked.constraint,
            lambda g: _has_feature(asked.constraint, g),
            lambda g: ",".join(sorted(g.features)),
        ),
        _Test(
            cores,
            getattr(asked, cores),
            lambda g: g.cpus >= asked.cores,
            lambda g: f"{g.cpus} cores",
        ),
        _Test(
            memory,
            getattr(asked, memory),
            lambda g: g.memory_mb >= 1024 * gib,
            lambda g: f"{g.memory_mb / 1024:.4g} GB",
        ),
    ]


def _has_gpus(asked: Resources, group: NodeGroup) -> bool:
    kind = asked.gpu_kind
    have = group.gpus.get(kind, 0) if kind else sum(group.gpus.values())
    return have >= asked.gpus


def _shown_gpus(group: NodeGroup) -> str:
    return " ".join(f"{n} {kind or 'gpu'}" for kind, n in group.gpus.items()) or "no GPU"


def _has_feature(constraint: str | None, group: NodeGroup) -> bool:
    """Whether a plain feature is there; expressions are left to SLURM."""
    if constraint is None or not re.fullmatch(r"[\w.-]+", constraint):
        return True
    return constraint in group.features


def gpu_types(asked: Resources, groups: Sequence[NodeGroup]) -> list[str]:
    """The types of GPU that a request may end up on."""
    fits = [group for group in _in_partitions(asked, groups) if _has_gpus(asked, group)]
    kinds = {kind for group in fits for kind in group.gpus}
    return sorted(kinds & {asked.gpu_kind} if asked.gpu_kind else kinds)


def say_mixed(
    requests: Iterable[Resources], groups: Sequence[NodeGroup], say: Callable[[str], None]
) -> None:
    """Say where jobs may end up on GPUs of several types."""
    for kinds in sorted({tuple(gpu_types(one, groups)) for one in requests if one.gpus}):
        if len(kinds) > 1:
            say(
                f"jobs may get GPUs of several types ({', '.join(kinds)}), and scores differ "
                f"in the last digits: pin one with hydra.launcher.gpu_type={kinds[0]}"
            )


def check_account(requests: Iterable[Resources]) -> None:
    """Refuse an account or a quality of service that this user does not have.

    Where accounting cannot be asked, or knows nothing of this user, SLURM itself decides.
    """
    wanted = list(requests)
    accounts = {asked.account for asked in wanted if asked.account}
    levels = {asked.qos for asked in wanted if asked.qos}
    if not accounts and not levels:
        return
    try:
        command = ("sacctmgr", "-n", "-P", "show", "assoc", f"user={getpass.getuser()}")
        rows = [line.split("|") for line in run(*command, "format=account,qos").splitlines()]
    except SlurmError:
        return
    for key, given, valid in (
        ("account", accounts, {row[0] for row in rows}),
        ("qos", levels, {qos for row in rows for qos in row[1].split(",") if qos}),
    ):
        for value in sorted(given - valid) if valid else ():
            raise BadInput(f"hydra.launcher.{key}", value, one_of(sorted(valid)) + ".")
