"""From what is to be done to jobs in SLURM's hands: packed, checked, submitted, recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launchers.base import StageOutcome
from launchers.schedule import closure
from launchers.slurm.cluster import nodes, quota
from launchers.slurm.cluster.nodes import NodeGroup
from launchers.slurm.job.stage_job import StageJob
from launchers.slurm.repair import Round
from launchers.slurm.resources.requests import ROUND, model_parameters
from launchers.slurm.resources.resources import Resources
from launchers.slurm.settings import Settings
from launchers.slurm.submission import preflight
from launchers.slurm.submission.arrays import Array, arrays
from launchers.slurm.submission.merging import merge
from launchers.slurm.submission.packing import Unit, pack
from launchers.slurm.submission.pending import Todo
from launchers.slurm.submission.submit import Submission, largest_array, prepared
from sweeper.inputs import availability
from sweeper.planning.sweep import Sweep
from sweeper.store.store import Spec, Store

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """Submits for one launcher.

    Attributes:
        settings: its options.
        config: how to make the launcher again, for those who read the record.
    """

    settings: Settings
    config: Mapping[str, Any]

    def submit(
        self,
        todo: Todo,
        store: Store,
        sweep: Sweep,
        say: Say,
        *,
        number: int = 0,
        memory: Mapping[str, float] | None = None,
    ) -> None:
        """Submit what is needed, and the round that waits for it; note the jobs in ``todo``.

        Args:
            todo: what is needed.
            store: its store.
            sweep: whose plan it is.
            say: told what a person should know.
            number: how many repair rounds came before.
            memory: stage key -> factor on the memory it asks for.

        Raises:
            BadInput: the cluster cannot do it; nothing was submitted.
            SlurmError: SLURM is away or refuses; what was submitted before stays.
        """
        own = self.settings
        groups = self.preflight([todo.specs[key] for key in todo.needed], store, say)
        request = self.request(todo.specs, memory or {}, groups)
        planned = self.arrays(todo, request, largest_array(own.patience_s, say))
        submission = Submission(
            sweep=sweep.path, launcher=self.config, number=number, memory=memory or {},
            parallelism=own.array_parallelism, timeouts=own.max_num_timeout, wanted=todo.wanted,
            patience_s=own.patience_s, say=say,
        )  # fmt: skip
        submission.arrays(planned, self._payload(sweep, submission.name), self._prepared)
        last = Round(
            home=str(sweep.home), sweep=sweep.name, submission=submission.name,
            launcher=self.config, verbs=tuple(own.collect),
        )  # fmt: skip
        asked = self._prepared(own.requests.of_kind(ROUND))
        submission.round(last, asked, set(todo.live.values()))
        jobs = _jobs(planned, submission.jobs)
        for key, job in jobs.items():
            todo.outcomes[key] = StageOutcome(state="queued", reason=f"job {job}")
        say(
            f"submitted {len(jobs)} stages as {sum(map(len, submission.jobs))} jobs in "
            f"{len(planned)} arrays; `isorate status name={sweep.name}` follows them"
        )

    def request(
        self,
        specs: Mapping[str, Spec],
        memory: Mapping[str, float] | None = None,
        groups: Sequence[NodeGroup] = (),
    ) -> Callable[[Spec], Resources]:
        """What each stage asks for.

        Args:
            specs: all stages by key; they tell the sizes of their models.
            memory: stage key -> factor on the memory it asks for, as far as a node has it.
            groups: the nodes.
        """
        own, sizes, factors = self.settings, model_parameters(specs), memory or {}

        def asked(spec: Spec) -> Resources:
            found = own.requests.of(spec, sizes[spec["key"]])
            factor = factors.get(spec["key"], 1.0)
            if factor == 1.0 or found.memory is None:
                return found
            _, gib = found.memory
            most = preflight.largest_memory(found, groups)
            return found.with_memory(max(gib, min(gib * factor, most)))

        return asked

    def arrays(self, todo: Todo, request: Callable[[Spec], Resources], largest: int) -> list[Array]:
        """The arrays for what is needed; a pure function of its arguments.

        Args:
            todo: what is needed.
            request: what a stage asks for.
            largest: most elements of an array.
        """
        own = self.settings
        units = pack(todo.specs, todo.needed, todo.live.keys(), request, by=own.pack)
        if own.pack == "cell":
            units = merge(units, slots=own.array_parallelism, startup_s=own.startup_s)
        return arrays(units, todo.live, largest)

    def preflight(self, stages: Sequence[Spec], store: Store, say: Say) -> list[NodeGroup]:
        """Refuse what cannot run on this cluster.

        Returns:
            Its nodes.

        Raises:
            BadInput: an unknown partition, account or quality of service, more than any node
                has, more time than the partition gives, an input that offline nodes would
                lack, or too little room for the checkpoints on the disk or in a quota.
        """
        own, request = self.settings, self.request(closure(stages))
        asked = {request(spec) for spec in stages}
        asked.add(own.requests.of_kind(ROUND))
        groups = nodes.site(own.patience_s, say)
        preflight.check(asked, groups)
        preflight.check_account(asked)
        preflight.say_mixed(asked, groups, say)
        if own.offline:
            availability.check(stages)
        # nothing is dropped before the last job has run
        need = round(sum(float(spec.get("bulk_bytes") or 0.0) for spec in stages))
        store.check(need)
        quota.check(store.home, need, say)
        return groups

    def _payload(self, sweep: Sweep, submission: str) -> Callable[[Unit], StageJob]:
        own = self.settings

        def payload(unit: Unit) -> StageJob:
            return StageJob(
                home=str(sweep.home), sweep=sweep.name, submission=submission, keys=unit.keys,
                bulk=unit.bulk, device=own.device_of(unit.resources), stages=own.stages,
                restarts=own.restarts,
            )  # fmt: skip

        return payload

    def _prepared(self, asked: Resources) -> Resources:
        threads = self.settings.threads_of(asked)
        return prepared(asked, threads=threads, offline=self.settings.offline)


def _jobs(planned: Sequence[Array], jobs: Sequence[Sequence[str]]) -> dict[str, str]:
    """Stage key -> id of its job."""
    return {
        key: job
        for array, ids in zip(planned, jobs, strict=True)
        for unit, job in zip(array.units, ids, strict=True)
        for key in unit.keys
    }
