"""What one SLURM job asks for, in the names of submitit, and how requests are joined."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

_SUMMED = (
    "timeout_min",
    "cpus_per_task",
    "cpus_per_gpu",
    "gpus_per_node",
    "mem_gb",
    "mem_per_cpu",
    "mem_per_gpu",
    "signal_delay_s",
)
_GPU_PLACE = ("gpu_type", "gres")
_SIZE = re.compile(r"(?P<number>\d+)(?P<unit>[KMGT]?)B?", re.IGNORECASE)
_UNITS = {"K": 2.0**-20, "M": 2.0**-10, "G": 1.0, "T": 2.0**10}
_LONGEST_DELAY = 0.2  # of the time limit: a job must live to install its handler


@dataclass(frozen=True, kw_only=True)
class Resources:
    """One job's request; the names are those of hydra-submitit-launcher and sbatch.

    Attributes:
        partition, account, qos, reservation, constraint, exclude, nodelist, comment: as in sbatch.
        mail_user, mail_type: whom SLURM writes to, and when, as in sbatch.
        gres: generic resources; if GPUs are among them, instead of ``gpus_per_node``.
        gpu_type: pins one type of GPU ("a100"), as the site calls it in its gres.
        gpus_per_node: GPUs; 0 for none. A job is one task on one node, so ``gpus_per_task`` of
            a configuration means the same.
        cpus_per_task: cores.
        cpus_per_gpu: cores for each GPU, instead of ``cpus_per_task`` in a job with GPUs.
        mem_gb: memory of the job in GiB, as SLURM counts it; None: the site's default.
        mem_per_cpu: memory as sbatch writes it ("4GB"), instead of ``mem_gb``.
        mem_per_gpu: likewise, instead of both in a job with GPUs.
        timeout_min: time limit, in minutes.
        signal_delay_s: seconds before the limit at which a job is told to requeue itself;
            never more than a fifth of the limit.
        setup: shell lines before the job (modules, an environment).
        python: command that runs Python there (a container, say); None: this very one.
        use_srun: start the job's process with srun.
        srun_args: further arguments of srun.
        additional_parameters: any other option of sbatch -> its value.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    nodelist: str | None = None
    comment: str | None = None
    mail_user: str | None = None
    mail_type: str | None = None
    gres: str | None = None
    gpu_type: str | None = None
    gpus_per_node: int = 0
    cpus_per_task: int = 1
    cpus_per_gpu: int | None = None
    mem_gb: float | None = None
    mem_per_cpu: str | None = None
    mem_per_gpu: str | None = None
    timeout_min: int = 60
    signal_delay_s: int = 90
    setup: tuple[str, ...] = ()
    python: str | None = None
    use_srun: bool = True
    srun_args: tuple[str, ...] = ()
    additional_parameters: tuple[tuple[str, Any], ...] = ()

    @property
    def place(self) -> tuple[object, ...]:
        """What two stages must have in common to share a job, beside the type of their GPUs."""
        own = (f.name for f in fields(self) if f.name not in (*_SUMMED, *_GPU_PLACE))
        return tuple(getattr(self, name) for name in own)

    @property
    def gpu_place(self) -> tuple[object, ...] | None:
        """Which GPUs and how many; None if it needs none.

        A stage that can use one alone must not keep three others waiting in its job.
        """
        return (*(getattr(self, n) for n in _GPU_PLACE), self.gpus) if self.gpus else None

    @property
    def gpus(self) -> int:
        """GPUs of the job, however they are asked for."""
        return gres_gpus(self.gres or "") or self.gpus_per_node

    @property
    def gpu_kind(self) -> str | None:
        """The type of GPU that is pinned, however it is."""
        return gres_type(self.gres or "") or self.gpu_type

    @property
    def cores(self) -> int:
        """Cores of the job, however they are asked for."""
        by_gpu = (self.cpus_per_gpu or 0) * self.gpus
        return by_gpu or self.cpus_per_task

    @property
    def memory(self) -> tuple[str, float] | None:
        """(the key that asks for the job's memory, GiB in all); None: the site's default."""
        if self.mem_per_gpu and self.gpus:
            return "mem_per_gpu", self.gpus * gibibytes(str(self.mem_per_gpu))
        if self.mem_per_cpu:
            return "mem_per_cpu", self.cores * gibibytes(str(self.mem_per_cpu))
        return None if self.mem_gb is None else ("mem_gb", self.mem_gb)

    @property
    def seconds(self) -> float:
        """The time limit in seconds."""
        return 60.0 * self.timeout_min

    def with_memory(self, gib: float) -> Resources:
        """The same with that much memory in all, asked for under the same key."""
        key = self.memory[0] if self.memory else "mem_gb"
        if key == "mem_gb":
            return replace(self, mem_gb=gib)
        if key == "mem_per_gpu":
            return replace(self, mem_per_gpu=f"{round(1024 * gib / self.gpus)}M")
        return replace(self, mem_per_cpu=f"{round(1024 * gib / self.cores)}M")

    def parameters(
        self, name: str, dependency: str, parallelism: int, *, held: bool = False
    ) -> dict[str, Any]:
        """Arguments of ``submitit.SlurmExecutor.update_parameters``."""
        plain = (
            "partition",
            "account",
            "qos",
            "constraint",
            "exclude",
            "nodelist",
            "comment",
            "gres",
            "use_srun",
        )
        found = {key: value for key in plain if (value := getattr(self, key)) is not None}
        found |= {"cpus_per_task": self.cores, **self._memory()}
        if self.gpus_per_node and not gres_gpus(self.gres or ""):
            kind = f"{self.gpu_type}:" if self.gpu_type else ""
            found["gpus_per_node"] = f"{kind}{self.gpus_per_node}"
        if dependency:
            found["dependency"] = dependency
        further: dict[str, Any] = {"kill-on-invalid-dep": "yes", "requeue": True}
        if held:
            further["hold"] = True
        for option in ("reservation", "mail_user", "mail_type"):
            if value := getattr(self, option):
                further[option.replace("_", "-")] = value
        return found | {
            "job_name": name,
            "time": self.timeout_min,
            "setup": list(self.setup),
            "srun_args": list(self.srun_args),
            "signal_delay_s": round(min(self.signal_delay_s, _LONGEST_DELAY * self.seconds)),
            "array_parallelism": parallelism,
            "additional_parameters": further | dict(self.additional_parameters),
        }

    def _memory(self) -> dict[str, str]:
        """The one option of memory: sbatch takes no two."""
        if self.memory is None:
            return {}
        key, gib = self.memory
        if key == "mem_gb":
            return {"mem": f"{round(1024 * gib)}M"}
        return {key: str(getattr(self, key))}


def may_share(several: Sequence[Resources]) -> bool:
    """Whether stages with these requests may run in one job."""
    gpu_places = {one.gpu_place for one in several} - {None}
    return len({one.place for one in several}) == 1 and len(gpu_places) <= 1


def joined(several: Sequence[Resources]) -> Resources:
    """The request of a job that carries out stages with these requests one after the other.

    Each number is the largest of its kind; they must be such that `may_share` holds. The
    time limit is the largest too: a job that runs into it goes on where it was.
    """
    assert may_share(several)
    # without GPUs, one of them may still ask for something else
    first = max(several, key=lambda one: (one.gpus, bool(one.gres)))
    alike = replace(
        first,
        timeout_min=max(one.timeout_min for one in several),
        cpus_per_gpu=None,
        cpus_per_task=max(one.cores for one in several),
        signal_delay_s=max(one.signal_delay_s for one in several),
    )
    memory = [one.memory[1] for one in several if one.memory]
    return alike.with_memory(max(memory)) if memory else alike


def gibibytes(size: str) -> float:
    """An amount of memory as sbatch writes it ("4G", "4000", in MiB without a unit), in GiB.

    Raises:
        ValueError: it is none.
    """
    match = _SIZE.fullmatch(size.strip())
    if match is None:
        raise ValueError(size)
    return float(match["number"]) * _UNITS[match["unit"].upper() or "M"]


def gres_gpus(gres: str) -> int:
    """The number of GPUs in a generic resource: "gpu:a10:2(S:0-1)" is 2, "shard:4" none."""
    found = [_gpus(item) for item in gres.split(",")]
    return sum(int(n[-1]) if n and n[-1].isdigit() else 1 for n in found if n is not None)


def gres_type(gres: str) -> str | None:
    """The type of GPU that a generic resource names: a10 of "gpu:a10:2"."""
    named = [n[0] for item in gres.split(",") if (n := _gpus(item)) and not n[0].isdigit()]
    return named[0] if named else None


def gres_without_gpus(gres: str) -> str:
    """The other items of a generic resource."""
    return ",".join(item for item in gres.split(",") if _gpus(item) is None)


def _gpus(item: str) -> list[str] | None:
    """Type and count of an item that asks for GPUs, as far as it has them; None of another."""
    name, *rest = item.split("(")[0].split(":")
    return rest if name in ("gpu", "gres/gpu") else None
