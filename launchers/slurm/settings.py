"""The options of the SLURM launcher, checked; what jobs ask for is in `resources`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from launchers.slurm.repair import VERBS
from launchers.slurm.resources.requests import Requests
from launchers.slurm.resources.resources import Resources
from sweeper.errors import BadInput, one_of

_RETRY = {"rounds": 3, "restarts": 20, "memory_factor": 1.5, "early": False}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All options.

    Attributes:
        array_parallelism: most jobs of the sweep at a time.
        pack: "cell": a checkpoint and all that is measured and scored of it share a job, as
            long as that fits the time limit; "stage": a job for each stage.
        startup_s: seconds that a job spends before its first stage (SLURM, Python, imports).
            Short cells share a job where fewer starts end the sweep sooner; 0: none do.
        max_num_timeout: how often a job may run into its time limit and go on where it was.
        retry: ``rounds`` of repair after a submission; ``restarts`` of one job by SLURM
            (preemption, failed nodes); ``memory_factor`` on the memory of what ran out of it;
            ``early``: whether a job watches for the first that ends badly, so that repair does not
            wait for the slowest.
        device: "cpu" or "cuda"; None: cuda where a job asks for a GPU.
        threads: CPU threads of a job; None: one without a GPU (so scores equal those of the
            local launcher, digit for digit), else one per core.
        offline: the nodes have no network: inputs are checked here, and nothing is downloaded.
        patience_s: seconds to wait for a controller that is away.
        kinds: kind of stage, or "round" (the repair-and-collect job) -> what differs for it.
        sizes: what differs for larger models; see `requests.Requests`.
        collect: what the last job does once all is done: sync (MLflow), report.
        stages: package with the modules of the stages.
        name: what jobs are called first; None: the sweep.
        clusters: which cluster, where a site has several behind one front end.
        resources: fields of `resources.Resources`, for all jobs.
    """

    array_parallelism: int = 256
    pack: str = "cell"
    startup_s: float = 20.0
    max_num_timeout: int = 3
    retry: Mapping[str, Any] = field(default_factory=dict)
    device: str | None = None
    threads: int | None = None
    offline: bool = False
    patience_s: float = 120.0
    kinds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sizes: Sequence[Mapping[str, Any]] = ()
    collect: Sequence[str] = VERBS
    stages: str = "sweeper.stages"
    name: str | None = None
    clusters: str | None = None
    resources: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is out of range, naming key, value and what is valid."""
        for key, value, valid in (
            ("pack", self.pack, PACKS),
            ("device", self.device, ("cpu", "cuda", None)),
        ):
            if value not in valid:
                raise BadInput(f"hydra.launcher.{key}", value, one_of(valid) + ".")
        if set(self.collect) - set(VERBS):
            raise BadInput("hydra.launcher.collect", self.collect, one_of(VERBS) + ".")
        if unknown := set(self.retry) - set(_RETRY):
            raise BadInput("hydra.launcher.retry", ", ".join(unknown), one_of(list(_RETRY)) + ".")
        if not isinstance(self.early, bool):
            raise BadInput("hydra.launcher.retry.early", self.early, "valid: true or false.")
        for key, number, least in (
            ("array_parallelism", self.array_parallelism, 1),
            ("startup_s", self.startup_s, 0),
            ("max_num_timeout", self.max_num_timeout, 0),
            ("retry.rounds", self.rounds, 0),
            ("retry.restarts", self.restarts, 0),
            ("retry.memory_factor", self.memory_factor, 1),
        ):
            if number < least:
                raise BadInput(f"hydra.launcher.{key}", number, f"valid: {least} or more.")
        _ = self.requests  # its names and values are checked now, not at the first job

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """From the launcher's keyword arguments; what is no option here is a resource.

        Raises:
            BadInput: naming the key.
        """
        own = {f.name for f in fields(cls)} - {"resources"}
        values = {key: plain(value) for key, value in given.items()}
        for key, empty in (("retry", {}), ("kinds", {}), ("sizes", [])):
            values[key] = values.get(key) or empty
        resources = {key: value for key, value in values.items() if key not in own}
        return cls(**{k: v for k, v in values.items() if k in own}, resources=resources)

    def given(self) -> dict[str, Any]:
        """The keyword arguments that make these settings again."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "resources"}
        given: dict[str, Any] = plain({**own, **self.resources})
        return given

    @cached_property
    def requests(self) -> Requests:
        """Which resources each stage gets."""
        return Requests(self.resources, self.kinds, self.sizes)

    @property
    def rounds(self) -> int:
        """Rounds of repair after a submission."""
        return int((_RETRY | dict(self.retry))["rounds"])

    @property
    def restarts(self) -> int:
        """How often SLURM may start one job again."""
        return int((_RETRY | dict(self.retry))["restarts"])

    @property
    def memory_factor(self) -> float:
        """On the memory of what ran out of it."""
        return float((_RETRY | dict(self.retry))["memory_factor"])

    @property
    def early(self) -> bool:
        """Whether repair begins with the first job that ends badly."""
        early: bool = (_RETRY | dict(self.retry))["early"]
        return early

    def device_of(self, asked: Resources) -> str:
        """The device of a job with this request."""
        return self.device or ("cuda" if asked.gpus else "cpu")

    def threads_of(self, asked: Resources) -> int:
        """CPU threads of a job with this request."""
        return self.threads or (asked.cores if self.device_of(asked) == "cuda" else 1)


def plain(value: Any) -> Any:
    """Hydra's containers, and tuples, as dicts and lists, at any depth."""
    if isinstance(value, DictConfig | ListConfig):
        return OmegaConf.to_container(value, resolve=True)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


PACKS = ("cell", "stage", "pull")
