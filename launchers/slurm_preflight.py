"""What can be refused before anything is submitted, with the valid choices named."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launchers.slurm_commands import SlurmError, patiently, run
from launchers.slurm_resources import Resources
from sweeper.errors import BadInput, one_of
from sweeper.store import Spec

_CLOCK = re.compile(r"(?:(?P<days>\d+)-)?(?P<rest>\d+(?::\d+){0,2})")


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """Equal nodes of one partition.

    Attributes:
        partition: its name.
        default: whether it is the one that a job gets without asking.
        up: whether it takes jobs.
        limit_min: the partition's time limit in minutes; infinite if there is none.
        cpus, memory_mb: of one node.
        gpus: type -> count of one node ("" where the site names no type).
        features: what ``constraint`` can name.
        nodes: how many.
    """

    partition: str
    default: bool
    up: bool
    limit_min: float
    cpus: int
    memory_mb: int
    gpus: Mapping[str, int]
    features: frozenset[str]
    nodes: int


def site(patience_s: float, say: Callable[[str], None]) -> list[NodeGroup]:
    """The cluster's nodes, in one call of sinfo."""
    command = ("sinfo", "-h", "-e", "-o", "%P|%a|%l|%c|%m|%G|%f|%D")
    return parse(patiently(lambda: run(*command), patience_s, say))


def parse(text: str) -> list[NodeGroup]:
    """The output of sinfo."""
    groups = []
    for line in text.splitlines():
        name, up, limit, cpus, memory, gres, features, nodes = line.split("|")
        groups.append(NodeGroup(
            partition=name.rstrip("*"), default=name.endswith("*"), up=up == "up",
            limit_min=minutes(limit), cpus=int(cpus.rstrip("+")),
            memory_mb=int(memory.rstrip("+")), gpus=_gpus(gres),
            features=frozenset(features.split(",")), nodes=int(nodes),
        ))  # fmt: skip
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


def check(requests: Iterable[Resources], groups: Sequence[NodeGroup]) -> None:
    """Refuse requests that no node of the cluster can fulfil.

    Raises:
        BadInput: naming the key and what is valid.
    """
    for asked in requests:
        own = _in_partitions(asked, groups)
        _check_time(asked, own)
        _check_nodes(asked, own)


def _in_partitions(asked: Resources, groups: Sequence[NodeGroup]) -> list[NodeGroup]:
    names = sorted({group.partition for group in groups})
    if asked.partition is None:
        own = [group for group in groups if group.default]
        if not own:
            raise BadInput(
                "hydra.launcher.partition", None,
                f"this cluster has no default partition; {one_of(names)}.",
            )  # fmt: skip
        return own
    for name in asked.partition.split(","):
        if name not in names:
            raise BadInput("hydra.launcher.partition", name, one_of(names) + ".")
    return [group for group in groups if group.partition in asked.partition.split(",")]


def _check_time(asked: Resources, own: Sequence[NodeGroup]) -> None:
    most = max(group.limit_min for group in own)
    if asked.timeout_min > most:
        raise BadInput(
            "hydra.launcher.timeout_min", asked.timeout_min,
            f"valid: at most {most:g}, the limit of partition {own[0].partition}.",
            "A job that needs longer goes on by itself where it was; or name another partition.",
        )  # fmt: skip


def _check_nodes(asked: Resources, own: Sequence[NodeGroup]) -> None:
    tests: list[tuple[str, object, Callable[[NodeGroup], bool], Callable[[NodeGroup], str]]] = [
        ("cpus_per_task", asked.cpus_per_task,
         lambda g: g.cpus >= asked.cpus_per_task, lambda g: f"{g.cpus} cores"),
        ("mem_gb", asked.mem_gb,
         lambda g: g.memory_mb >= 1024 * (asked.mem_gb or 0),
         lambda g: f"{g.memory_mb / 1024:.3g} GB"),
        ("gpu_type" if asked.gpu_type else "gpus_per_node", asked.gpu_type or asked.gpus,
         lambda g: _has_gpus(asked, g), _shown_gpus),
        ("constraint", asked.constraint,
         lambda g: _has_feature(asked.constraint, g), lambda g: ",".join(sorted(g.features))),
    ]  # fmt: skip
    fitting = list(own)
    for key, value, fits, shown in tests:
        left = [group for group in fitting if fits(group)]
        if not left:
            has = sorted({shown(group) for group in fitting})
            where = ", ".join(sorted({group.partition for group in own}))
            raise BadInput(
                f"hydra.launcher.{key}", value,
                f"no node of partition {where} has that; its nodes have: {'; '.join(has)}.",
            )  # fmt: skip
        fitting = left


def _has_gpus(asked: Resources, group: NodeGroup) -> bool:
    kind = asked.gpu_type
    if asked.gres:
        _, *rest = asked.gres.split(",")[0].split(":")
        kind = rest[0] if len(rest) > 1 else None
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
    return sorted(kinds & {asked.gpu_type} if asked.gpu_type else kinds)


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


def check_offline(specs: Iterable[Spec]) -> None:
    """Refuse inputs that a node without network would look for in vain.

    Raises:
        BadInput: a model or a data set is not on this machine.
    """
    seen: set[tuple[str, str]] = set()
    for spec in specs:
        for role, at in spec.get("sources", {}).items():
            if (role, at) not in seen:
                seen.add((role, at))
                _check_source(role, str(at), spec)
        calibration = spec.get("params", {}).get("calibration") or {}
        if name := calibration.get("id"):
            _check_cached("calibration.dataset", str(name), "datasets")


def _check_source(role: str, at: str, spec: Spec) -> None:
    path = Path(at).expanduser()
    if path.exists():
        return
    if role != "model" or path.is_absolute():
        raise BadInput(role, at, "no such file or directory.", "Was it moved since the plan?")
    revision = spec.get("params", {}).get("model", {}).get("revision")
    _check_cached("model.id", at, "models", revision)


def _check_cached(key: str, name: str, kind: str, revision: str | None = None) -> None:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"{kind}--{name.replace('/', '--')}" / "snapshots"
    found = [path.name for path in folder.glob("*")] if folder.is_dir() else []
    pinned = revision if revision and re.fullmatch(r"[0-9a-f]{40}", revision) else None
    if not found or (pinned and pinned not in found):
        raise BadInput(
            key, name, "it is not on this machine, and the nodes are offline.",
            "Run `isorate prefetch` with the same arguments where there is a network.",
        )  # fmt: skip
