"""What a SLURM job asks for: per kind of stage and size of model, in the names of submitit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from launchers import slurm_script
from sweeper.errors import BadInput, one_of
from sweeper.stages import KINDS
from sweeper.store import Spec

ROUND = "round"
"""The kind under which the repair-and-collect job finds its resources."""

_SUMMED = ("timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb", "signal_delay_s")
_GPU_PLACE = ("gpu_type", "gres")
_LONGEST_DELAY = 0.2  # of the time limit: a job must live to install its handler


@dataclass(frozen=True, kw_only=True)
class Resources:
    """One job's request; the names are those of hydra-submitit-launcher and sbatch.

    Attributes:
        partition, account, qos, reservation, constraint, exclude, nodelist, comment: as in sbatch.
        gres: generic resources, instead of ``gpus_per_node``.
        gpu_type: pins one type of GPU ("a100"), as the site calls it in its gres.
        gpus_per_node: GPUs; 0 for none.
        cpus_per_task: cores.
        mem_gb: memory of the job in GiB, as SLURM counts it; None: the site's default.
        mem_per_cpu, mem_per_gpu: memory as sbatch writes it ("4GB"), instead of ``mem_gb``.
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
    gres: str | None = None
    gpu_type: str | None = None
    gpus_per_node: int = 0
    cpus_per_task: int = 1
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
        return self.gpus_per_node or gres_gpus(self.gres or "")

    @property
    def seconds(self) -> float:
        """The time limit in seconds."""
        return 60.0 * self.timeout_min

    def with_memory(self, factor: float) -> Resources:
        """The same with ``factor`` times the memory, where memory is asked for as a whole."""
        return self if self.mem_gb is None else replace(self, mem_gb=self.mem_gb * factor)

    def parameters(self, name: str, dependency: str, parallelism: int) -> dict[str, Any]:
        """Arguments of ``submitit.SlurmExecutor.update_parameters``."""
        plain = (
            "partition", "account", "qos", "constraint", "exclude", "nodelist", "comment", "gres",
            "cpus_per_task", "mem_per_cpu", "mem_per_gpu", "use_srun",
        )  # fmt: skip
        found = {key: value for key in plain if (value := getattr(self, key)) is not None}
        if self.mem_gb is not None:
            found["mem"] = f"{round(1024 * self.mem_gb)}M"
        if self.gpus_per_node:
            kind = f"{self.gpu_type}:" if self.gpu_type else ""
            found["gpus_per_node"] = f"{kind}{self.gpus_per_node}"
        if dependency:
            found["dependency"] = dependency
        further = {"kill-on-invalid-dep": "yes", "requeue": True}
        if self.reservation:
            further["reservation"] = self.reservation
        return found | {
            "job_name": name,
            "time": self.timeout_min,
            "setup": list(self.setup),
            "srun_args": list(self.srun_args),
            "signal_delay_s": round(min(self.signal_delay_s, _LONGEST_DELAY * self.seconds)),
            "array_parallelism": parallelism,
            "additional_parameters": further | dict(self.additional_parameters),
        }


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
    first = max(several, key=lambda one: one.gpus)
    memory = [one.mem_gb for one in several if one.mem_gb is not None]
    return replace(
        first,
        mem_gb=max(memory) if memory else None,
        timeout_min=max(one.timeout_min for one in several),
        cpus_per_task=max(one.cpus_per_task for one in several),
        gpus_per_node=max(one.gpus_per_node for one in several),
        signal_delay_s=max(one.signal_delay_s for one in several),
    )


class Requests:
    """Which resources each stage gets: the base, then its kind's, then its model size's."""

    def __init__(
        self,
        base: Mapping[str, Any],
        kinds: Mapping[str, Mapping[str, Any]],
        sizes: Sequence[Mapping[str, Any]],
    ) -> None:
        """Check all names and values.

        Args:
            base: fields of `Resources`.
            kinds: kind of stage (or "round") -> fields that differ.
            sizes: each with ``above_billion`` (parameters) and fields that differ for larger
                models, optionally only for the ``kinds`` that it lists; later ones win.

        Raises:
            BadInput: naming the key.
        """
        self._base = _resources("hydra.launcher", base, Resources())
        for kind in kinds:
            if kind not in (*KINDS, ROUND):
                valid = one_of([*KINDS, ROUND]) + "."
                raise BadInput("hydra.launcher.kinds", kind, valid)
        self._kinds = {
            kind: _resources(f"hydra.launcher.kinds.{kind}", given, self._base)
            for kind, given in kinds.items()
        }
        self._sizes = [_size(dict(given), self._base) for given in sizes]

    def of_kind(self, kind: str) -> Resources:
        """The request of a kind of stage, whatever its model."""
        return self._kinds.get(kind, self._base)

    def of(self, spec: Spec, parameters: float = 0.0) -> Resources:
        """The request of a stage whose model has this many parameters (0: unknown)."""
        found = self.of_kind(spec["kind"])
        for above, kinds, given in self._sizes:
            if parameters > above and spec["kind"] in kinds:
                found = replace(found, **given)
        return found


def model_parameters(specs: Mapping[str, Spec]) -> dict[str, float]:
    """Stage key -> parameters of its model, as far as a stage of that model tells.

    ``measure`` and ``convert`` stages carry the number of parameters as their work.
    """
    roots = {key: _root(spec) for key, spec in specs.items()}
    sizes: dict[str, float] = {}
    for key, spec in specs.items():
        if spec["kind"] in ("measure", "convert"):
            sizes[roots[key]] = max(sizes.get(roots[key], 0.0), float(spec.get("work") or 0.0))
    return {key: sizes.get(root, 0.0) for key, root in roots.items()}


def gres_gpus(gres: str) -> int:
    """The number of GPUs in a generic resource: "gpu:a10:2(S:0-1)" is 2, "shard:4" none."""
    count = 0
    for item in gres.split(","):
        name, *rest = item.split("(")[0].split(":")
        if name in ("gpu", "gres/gpu"):
            count += int(rest[-1]) if rest and rest[-1].isdigit() else 1
    return count


def _root(spec: Spec) -> str:
    """The model that a stage's checkpoint was made from."""
    while parents := spec.get("parents"):
        spec = parents.get("model") or next(iter(parents.values()))
    sources: Mapping[str, str] = spec.get("sources", {})
    return str(sources.get("model") or sources.get("gguf") or "")


def _size(given: dict[str, Any], base: Resources) -> tuple[float, frozenset[str], dict[str, Any]]:
    key = "hydra.launcher.sizes"
    above = given.pop("above_billion", None)
    if not isinstance(above, int | float):
        raise BadInput(f"{key}.above_billion", above, "valid: a number of parameters, in 10^9.")
    kinds = given.pop("kinds", None) or KINDS
    if unknown := set(kinds) - set(KINDS):
        raise BadInput(f"{key}.kinds", ", ".join(sorted(unknown)), one_of(KINDS) + ".")
    _resources(key, given, base)
    return above * 1e9, frozenset(kinds), _frozen(given)


def _resources(key: str, given: Mapping[str, Any], base: Resources) -> Resources:
    names = [f.name for f in fields(Resources)]
    for name in given:
        if name not in names:
            raise BadInput(f"{key}.{name}", given[name], f"no such key; {one_of(names)}.")
    for name, least in (("timeout_min", 1), ("cpus_per_task", 1), ("gpus_per_node", 0)):
        value = given.get(name, least)
        if not isinstance(value, int) or value < least:
            raise BadInput(f"{key}.{name}", value, f"valid: a whole number, {least} or more.")
    slurm_script.check(key, given)
    made = replace(base, **_frozen(given))
    if made.gpu_type and not made.gpus_per_node:
        made = replace(made, gpu_type=None)  # a kind without GPUs below a base that pins a type
    return made


def _frozen(given: Mapping[str, Any]) -> dict[str, Any]:
    """Lists and maps as tuples: requests are compared and grouped by value."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Mapping):
            found[name] = tuple(sorted(value.items()))
        elif isinstance(value, Iterable) and not isinstance(value, str):
            found[name] = tuple(value)
        else:
            found[name] = value
    return found
