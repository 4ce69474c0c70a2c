"""The SLURM launcher: submits a plan as job arrays that wait for each other, and returns.

Nothing stays resident on the login node. SLURM holds the dependencies; the last job of a
submission repairs what ended for reasons outside its cell and collects the results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, ListConfig, OmegaConf

from launchers import slurm_preflight as preflight
from launchers import slurm_records as records
from launchers.base import Observer, Outcome, StageOutcome
from launchers.schedule import closure
from launchers.slurm_arrays import Array, arrays
from launchers.slurm_commands import patiently, run
from launchers.slurm_job import StageJob
from launchers.slurm_known import reliable, settled
from launchers.slurm_resources import ROUND, Requests, Resources, model_parameters
from launchers.slurm_round import VERBS, Round, judge
from launchers.slurm_shape import Shape, shape
from launchers.slurm_state import JobTable, table
from launchers.slurm_submit import (
    Submission,
    cancel_ghosts,
    largest_array,
    prepared,
    unanswered,
)
from launchers.slurm_todo import Submitting, Todo, lacking, sort_out
from launchers.slurm_units import PACKS, Unit, pack
from sweeper.errors import BadInput, one_of
from sweeper.store import Spec, Store
from sweeper.sweep import Sweep

_RETRY = {"rounds": 3, "restarts": 20, "memory_factor": 1.5}
_CLAIM_WAIT_S = 60.0


def _ignore(_spec: Spec) -> None:
    """Nobody waits for a finished stage."""


def _quiet(_message: str) -> None:
    """Nobody listens."""


class SlurmLauncher(Launcher):
    """Carries out a plan on a SLURM cluster.

    Args:
        array_parallelism: most elements of an array at a time.
        pack: "cell": a checkpoint and all that is measured and scored of it share a job, as
            long as that fits the time limit; "stage": a job for each stage.
        max_num_timeout: how often a job may run into its time limit and go on where it was.
        retry: ``rounds`` of repair after a submission; ``restarts`` of one job by SLURM
            (preemption, failed nodes); ``memory_factor`` on the memory of what ran out of it.
        device: "cpu" or "cuda"; None: cuda where a job asks for a GPU.
        threads: CPU threads of a job; None: one without a GPU (so scores equal those of the
            local launcher, digit for digit), else one per core.
        offline: the nodes have no network: inputs are checked here, and nothing is downloaded.
        patience_s: seconds to wait for a controller that is away.
        kinds: kind of stage, or "round" (the repair-and-collect job) -> what differs for it.
        sizes: what differs for larger models; see `slurm_resources.Requests`.
        collect: what the last job does once all is done: sync (MLflow), report.
        stages: package with the modules of the stages.
        resources: fields of `slurm_resources.Resources`, for all jobs.
    """

    def __init__(
        self,
        *,
        array_parallelism: int = 256,
        pack: str = "cell",
        max_num_timeout: int = 3,
        retry: Mapping[str, Any] | None = None,
        device: str | None = None,
        threads: int | None = None,
        offline: bool = False,
        patience_s: float = 120.0,
        kinds: Mapping[str, Mapping[str, Any]] | None = None,
        sizes: Sequence[Mapping[str, Any]] | None = None,
        collect: Sequence[str] = VERBS,
        stages: str = "sweeper.stages",
        **resources: Any,
    ) -> None:
        self._settings: dict[str, Any] = _plain({
            "array_parallelism": array_parallelism, "pack": pack, "retry": retry or {},
            "max_num_timeout": max_num_timeout, "device": device, "threads": threads,
            "offline": offline, "patience_s": patience_s, "kinds": kinds or {},
            "sizes": sizes or [], "collect": collect, "stages": stages, **resources,
        })  # fmt: skip
        self._parallelism, self._pack, self._timeouts = array_parallelism, pack, max_num_timeout
        self._device, self._threads, self._offline = device, threads, offline
        self._patience_s, self._stages = patience_s, stages
        self._retry = _RETRY | self._settings["retry"]
        self._check()
        self._requests = Requests(
            _plain(resources), self._settings["kinds"], self._settings["sizes"]
        )

    def _check(self) -> None:
        for key, value, valid in (
            ("pack", self._pack, PACKS),
            ("device", self._device, ("cpu", "cuda", None)),
        ):
            if value not in valid:
                raise BadInput(f"hydra.launcher.{key}", value, one_of(valid) + ".")
        if set(self._settings["collect"]) - set(VERBS):
            raise BadInput("hydra.launcher.collect", self._settings["collect"], one_of(VERBS) + ".")
        if unknown := set(self._retry) - set(_RETRY):
            raise BadInput("hydra.launcher.retry", ", ".join(unknown), one_of(list(_RETRY)) + ".")
        for key, number, least in (
            ("array_parallelism", self._parallelism, 1),
            ("max_num_timeout", self._timeouts, 0),
            ("retry.rounds", self._retry["rounds"], 0),
            ("retry.restarts", self._retry["restarts"], 0),
            ("retry.memory_factor", self._retry["memory_factor"], 1),
        ):
            if number < least:
                raise BadInput(f"hydra.launcher.{key}", number, f"valid: {least} or more.")

    # --- Hydra's contract ----------------------------------------------------------

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Part of Hydra's contract; a plan brings all that is needed."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Refuse to run separate Hydra jobs: the stages that they share would run many times."""
        raise BadInput(
            "hydra/launcher", "slurm", "it carries out Isorate's plans only.",
            "Use hydra/sweeper=isorate (the default).",
        )  # fmt: skip

    # --- what it is ------------------------------------------------------------------

    def observer(
        self, title: str = "", cells: Mapping[str, Iterable[str]] | None = None
    ) -> Observer:
        """Says what was submitted; nobody waits for the stages."""
        return Submitting(title)

    def seats(self, stages: int) -> list[str | None]:
        """A seat for each job that may run at a time: on a GPU, or None for the CPU."""
        on_gpu = (self._device or _device(self._requests.of_kind("evaluate"))) == "cuda"
        return ["any" if on_gpu else None] * max(1, min(self._parallelism, stages))

    @property
    def config(self) -> dict[str, Any]:
        """How to make this launcher again: ``_target_`` and its arguments."""
        return {"_target_": "launchers.slurm.SlurmLauncher", **self._settings}

    # --- carrying out ----------------------------------------------------------------

    def carry_out(
        self,
        stages: Sequence[Spec],
        store: Store,
        *,
        observer: Observer,
        logs: Path,
        on_done: Callable[[Spec], None] = _ignore,
    ) -> Outcome:
        """Submit what the store lacks of ``stages`` and return; see `launchers.base.PlanLauncher`.

        What is queued or running already is not submitted again. ``on_done`` is never
        called: nobody is here any more when a stage is done.

        Raises:
            BadInput: the cluster cannot do it; nothing was submitted.
            SlurmError: SLURM is away or refuses; what was submitted before stays.
        """
        store.check()
        sweep = Sweep(store.home, logs.parent.name)
        with records.claim(sweep.path, wait_s=_CLAIM_WAIT_S, say=observer.say):
            known = patiently(lambda: reliable(sweep, store), self._patience_s, observer.say)
            todo = sort_out(stages, store, known, {})
            observer.begin(todo.relevant, todo.outcomes)
            try:
                if todo.needed:
                    self._submit(todo, store, sweep, number=0, memory={}, say=observer.say)
                else:
                    observer.say(todo.nothing())
            finally:
                observer.close()
        return Outcome(stages=todo.outcomes)

    def repair(self, sweep: Sweep, store: Store, *, after: str) -> dict[str, Any]:
        """Submit again what ended for reasons outside its cell, with all that waits for it.

        Args:
            sweep: the sweep.
            store: its store.
            after: the submission whose jobs have ended.

        Returns:
            "resubmitted" and "given_up", for the record of the round.
        """
        with records.claim(sweep.path, wait_s=_CLAIM_WAIT_S, say=_quiet):
            submitted = {record["submission"]: record for record in records.submissions(sweep.path)}
            record = submitted[after]
            number = int(record["round"].get("number", 0))
            left = int(self._retry["rounds"]) - number
            known = settled(sweep, store, record["round"]["dependency"])
            verdict = judge(
                known.stages, record["memory"],
                memory_factor=float(self._retry["memory_factor"]), left=left,
            )  # fmt: skip
            specs = sweep.load()["stages"]
            wanted = [specs[key] for key in record["wanted"] if key in specs]
            todo = sort_out(wanted, store, known, verdict.given_up)
            again = sorted(todo.needed) if left > 0 else []
            if again:
                self._submit(
                    todo, store, sweep, number=number + 1, memory=verdict.memory, say=_quiet
                )
            return {"resubmitted": again, "given_up": dict(verdict.given_up)}

    def _submit(
        self,
        todo: Todo,
        store: Store,
        sweep: Sweep,
        *,
        number: int,
        memory: Mapping[str, float],
        say: Callable[[str], None],
    ) -> None:
        specs = [todo.specs[key] for key in todo.needed]
        self.preflight(specs, store, say)
        planned = self._arrays(todo, memory, largest_array(self._patience_s, say))
        submission = Submission(
            sweep=sweep.path, launcher=self.config, number=number, memory=memory,
            parallelism=self._parallelism, timeouts=self._timeouts, wanted=todo.wanted,
            patience_s=self._patience_s, say=say,
        )  # fmt: skip
        submission.arrays(planned, self._payload(sweep, submission.name), self._prepared)
        done_by = Round(
            home=str(sweep.home), sweep=sweep.name, submission=submission.name,
            launcher=self.config, verbs=tuple(self._settings["collect"]),
        )  # fmt: skip
        asked = self._prepared(self._round_resources())
        submission.round(done_by, asked, set(todo.live.values()))
        jobs = {
            key: job
            for array, ids in zip(planned, submission.jobs, strict=True)
            for unit, job in zip(array.units, ids, strict=True)
            for key in unit.keys
        }
        for key, job in jobs.items():
            todo.outcomes[key] = StageOutcome(state="queued", reason=f"job {job}")
        say(
            f"submitted {len(jobs)} stages as {sum(map(len, submission.jobs))} jobs in "
            f"{len(planned)} arrays; `isorate status name={sweep.name}` follows them"
        )

    def _arrays(self, todo: Todo, memory: Mapping[str, float], largest: int) -> list[Array]:
        sizes = model_parameters(todo.specs)

        def request(spec: Spec) -> Resources:
            asked = self._requests.of(spec, sizes[spec["key"]])
            return asked.with_memory(memory.get(spec["key"], 1.0))

        units = pack(todo.specs, todo.needed, todo.live.keys(), request, by=self._pack)
        return arrays(units, todo.live, largest)

    def _payload(self, sweep: Sweep, submission: str) -> Callable[[Unit], StageJob]:
        def payload(unit: Unit) -> StageJob:
            return StageJob(
                home=str(sweep.home), sweep=sweep.name, submission=submission, keys=unit.keys,
                bulk=unit.bulk, device=self._device or _device(unit.resources),
                stages=self._stages, restarts=int(self._retry["restarts"]),
            )  # fmt: skip

        return payload

    def _prepared(self, asked: Resources) -> Resources:
        device = self._device or _device(asked)
        threads = self._threads or (asked.cpus_per_task if device == "cuda" else 1)
        return prepared(asked, threads=threads, offline=self._offline)

    def _round_resources(self) -> Resources:
        return self._requests.of_kind(ROUND)

    # --- before ------------------------------------------------------------------------

    def preflight(
        self, stages: Sequence[Spec], store: Store, say: Callable[[str], None] = _quiet
    ) -> None:
        """Refuse what cannot run on this cluster.

        Raises:
            BadInput: an unknown partition, account or quality of service, more than any node
                has, more time than the partition gives, an input that offline nodes would
                lack, or too little room for the checkpoints.
        """
        sizes = model_parameters(closure(stages))
        asked = {self._requests.of(spec, sizes[spec["key"]]) for spec in stages}
        asked.add(self._round_resources())
        groups = preflight.site(self._patience_s, say)
        preflight.check(asked, groups)
        preflight.check_account(asked)
        for kinds in {tuple(preflight.gpu_types(one, groups)) for one in asked if one.gpus}:
            if len(kinds) > 1:
                say(
                    f"jobs may get GPUs of several types ({', '.join(kinds)}), and scores differ "
                    f"in the last digits: pin one with hydra.launcher.gpu_type={kinds[0]}"
                )
        if self._offline:
            preflight.check_offline(stages)
        store.check(round(sum(float(spec.get("bulk_bytes") or 0.0) for spec in stages)))

    def shape(
        self, stages: Sequence[Spec], store: Store, estimates: Mapping[str, Any] | None = None
    ) -> Shape:
        """Jobs, arrays and GPU hours of what is still to be done; touches nothing.

        Args:
            stages: the stages wanted.
            store: knows what is done.
            estimates: stage key -> ``seconds`` and ``source`` ("measured", "scaled" or
                "assumed"), as `sweeper.cost` makes them; without them, and where they are
                only assumed, a job counts with the time that it asks for.
        """
        todo = lacking(stages, store)
        return shape(self._arrays(todo, {}, largest=1001), estimates or {}, self._parallelism)

    # --- afterwards ----------------------------------------------------------------------

    def jobs(self, sweep_dir: Path) -> JobTable:
        """The state of every stage that was submitted for a sweep; one call of sacct."""
        return table(sweep_dir, Store(sweep_dir.parent.parent))

    def cancel(self, sweep_dir: Path) -> list[str]:
        """Cancel all that is queued or running of a sweep, its repair rounds included.

        Returns:
            The ids of the jobs.

        Raises:
            SlurmError: SLURM does not answer.
        """
        submitted = records.submissions(sweep_dir)
        ghosts = cancel_ghosts(unanswered(submitted))
        known = {element.job for element in records.elements(sweep_dir, submitted)}
        known |= {record["round"]["job"] for record in submitted if record["round"].get("job")}
        listed = run("squeue", "--me", "-h", "-r", "-o", "%i").split()
        live = sorted(known.intersection(listed))
        if live:
            run("scancel", *live)
        return [*ghosts, *live]


def _device(asked: Resources) -> str:
    return "cuda" if asked.gpus else "cpu"


def _plain(value: Any) -> Any:
    """Hydra's containers as dicts and lists, at any depth."""
    if isinstance(value, DictConfig | ListConfig):
        return OmegaConf.to_container(value, resolve=True)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
