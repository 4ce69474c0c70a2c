"""What a cluster consists of, as sinfo tells: partitions and their nodes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from launchers.slurm.cluster.commands import patiently, run

_AWAY = {"down", "drained", "draining", "fail", "failing", "maint", "unknown", "future"}
_CLOCK = re.compile(r"(?:(?P<days>\d+)-)?(?P<rest>\d+(?::\d+){0,2})")


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """Equal nodes of one partition.

    Attributes:
        partition: its name.
        default: whether it is the one that a job gets without asking.
        up: "up"; "down" takes jobs and starts none, "drain" and "inact" take none.
        limit_min: the partition's time limit in minutes; infinite if there is none.
        cpus, memory_mb: of one node.
        gpus: type -> count of one node ("" where the site names no type).
        features: what ``constraint`` can name.
        nodes: how many.
        usable: whether they are there: neither down nor drained.
    """

    partition: str
    default: bool
    up: str
    limit_min: float
    cpus: int
    memory_mb: int
    gpus: Mapping[str, int]
    features: frozenset[str]
    nodes: int
    usable: bool = True


def site(patience_s: float, say: Callable[[str], None]) -> list[NodeGroup]:
    """The cluster's nodes, in one call of sinfo."""
    command = ("sinfo", "-h", "-e", "-o", "%P|%a|%l|%c|%m|%G|%f|%D|%T")
    return parse(patiently(lambda: run(*command), patience_s, say))


def parse(text: str) -> list[NodeGroup]:
    """The output of sinfo."""
    groups = []
    for line in text.splitlines():
        if "|" not in line:  # "CLUSTER: name"
            continue
        name, up, limit, cpus, memory, gres, features, nodes, state = line.split("|")
        groups.append(
            NodeGroup(
                partition=name.rstrip("*"),
                default=name.endswith("*"),
                up=up,
                limit_min=minutes(limit),
                cpus=int(cpus.rstrip("+")),
                memory_mb=int(memory.rstrip("+")),
                gpus=_gpus(gres),
                features=frozenset(features.split(",")),
                nodes=int(nodes),
                usable=state.rstrip("*$~#!%@^-") not in _AWAY,
            )
        )
    return groups


def minutes(text: str) -> float:
    """SLURM's time limits: "infinite", "30:00", "4:00:00", "1-12:00:00"."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        return float("inf")
    parts = [int(part) for part in match["rest"].split(":")]
    if match["days"]:
        parts += [0] * (3 - len(parts))
    seconds = 0
    for part in parts:
        seconds = 60 * seconds + part
    return 1440.0 * int(match["days"] or 0) + seconds / 60


def _gpus(gres: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in re.split(r",(?![^(]*\))", gres):
        name, *rest = re.sub(r"\(.*", "", item).split(":")
        if name == "gpu" and rest and rest[-1].isdigit():
            kind = rest[0] if len(rest) > 1 else ""
            found[kind] = found.get(kind, 0) + int(rest[-1])
    return found
