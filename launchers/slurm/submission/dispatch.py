"""From what is to be done to jobs in SLURM's hands: packed, checked, submitted, recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from launchers.base import StageOutcome
from launchers.leases import Lease
from launchers.schedule import closure
from launchers.slurm.cluster import limits, nodes, quota
from launchers.slurm.cluster.commands import SlurmError
from launchers.slurm.cluster.nodes import NodeGroup
from launchers.slurm.job.pull_job import PullJob
from launchers.slurm.job.stage_job import StageJob
from launchers.slurm.repair import Round
from launchers.slurm.resources.requests import ROUND, model_parameters
from launchers.slurm.resources.resources import Resources
from launchers.slurm.settings import Settings
from launchers.slurm.submission import capped, preflight, pulling
from launchers.slurm.submission.arrays import Array, arrays
from launchers.slurm.submission.merging import merge
from launchers.slurm.submission.packing import FULL, Unit, pack
from launchers.slurm.submission.pending import Todo
from launchers.slurm.submission.submit import Payload, Submission, largest_array, prepared
from launchers.slurm.submission.titles import Titles
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
        lease: Lease | None = None,
        tries: Mapping[str, int] | None = None,
        follows: str = "",
    ) -> None:
        """Submit what is needed, and the round that waits for it; note the jobs in ``todo``.

        Args:
            todo: what is needed.
            store: its store.
            sweep: whose plan it is.
            say: told what a person should know.
            number: how many repair rounds came before.
            memory: stage key -> factor on the memory it asks for.
            lease: this process's claim to submit.
            tries: stage key -> how often rounds have submitted it again.
            follows: the submission that is repaired while its jobs still work.

        Raises:
            BadInput: the cluster cannot do it; nothing was submitted.
            SlurmError: SLURM is away or refuses; what was submitted before stays.
        """
        own = self.settings
        groups = self.preflight([todo.specs[key] for key in todo.needed], store, say)
        request = self.request(todo.specs, memory or {}, groups)
        largest = largest_array(own.patience_s, say)
        planned, later = self._first_wave(todo, request, largest)
        submission = Submission(
            sweep=sweep.path,
            launcher=self.config,
            number=number,
            memory=memory or {},
            parallelism=own.array_parallelism,
            timeouts=own.max_num_timeout,
            wanted=todo.wanted,
            patience_s=own.patience_s,
            say=say,
            lease=lease,
            tries=tries or {},
            title=Titles(own.name or sweep.name, todo.specs),
            follows=follows,
        )
        ready = self._prepared(sweep)
        submission.arrays(planned, self._payload(sweep, submission.name), ready)
        last = Round(
            home=str(sweep.home),
            sweep=sweep.name,
            submission=submission.name,
            launcher=self.config,
            verbs=tuple(own.collect),
        )
        asked = ready(own.requests.of_kind(ROUND))
        live = set(todo.live.values())
        submission.round(last, asked, live)
        if own.early:
            submission.watch(replace(last, verbs=(), early=True), asked, live)
        submission.release()
        jobs = _jobs(submission, planned)
        for key in todo.needed:
            reason = f"job {jobs[key]}" if key in jobs else "waits for a later wave"
            todo.outcomes[key] = StageOutcome(state="queued", reason=reason)
        later += sum(len(array.units) for array in planned) - len(submission.submitted)
        say(
            f"submitted {len(jobs)} stages as {len(submission.submitted)} jobs in "
            f"{len(submission.jobs)} arrays; `isorate status name={sweep.name}` follows them"
            + (f"; {later} more jobs follow in waves, as the site allows" if later else "")
        )

    def watch(self, record: Mapping[str, Any], sweep: Sweep, lease: Lease, live: set[str]) -> None:
        """Watch what is left of a submission once more; it was looked at for nothing."""
        own = self.settings
        submission = Submission.again(
            dict(record),
            sweep=sweep.path,
            launcher=self.config,
            parallelism=own.array_parallelism,
            timeouts=own.max_num_timeout,
            patience_s=own.patience_s,
            say=lambda message: None,
            lease=lease,
            title=Titles(own.name or sweep.name, {}),
        )
        again = Round(
            home=str(sweep.home),
            sweep=sweep.name,
            submission=submission.name,
            launcher=self.config,
            verbs=(),
            early=True,
        )
        submission.watch(again, self._prepared(sweep)(own.requests.of_kind(ROUND)), live)

    def _first_wave(
        self, todo: Todo, request: Callable[[Spec], Resources], largest: int
    ) -> tuple[list[Array], int]:
        """As many jobs as may be submitted now, with a place left for the round; how many later.

        Raises:
            SlurmError: there is no place at all.
        """
        planned = self.planned(todo, request, largest)
        units = [unit for array in planned for unit in array.units]
        limit = limits.tightest(self.requests(units))
        if limit is None or limit.free > len(units):
            return planned, 0
        if limit.free < 2:
            raise SlurmError(
                f"{limit.why} is {limit.most}, and {limit.used} jobs are queued or running: "
                "there is no place for another one and its round. Run again when fewer are"
            )
        if self.settings.pack == "pull":  # fewer workers do the same
            return pulling.fewer(planned, limit.free - 1), 0
        first = self.units(todo, request)[: limit.free - 1]
        return self._arrays(first, todo, largest), len(units) - len(first)

    def _arrays(self, units: Sequence[Unit], todo: Todo, largest: int) -> list[Array]:
        """Arrays by what their elements wait for, or by request where the cap binds them all."""
        slots, earlier = self.settings.array_parallelism, sorted(set(todo.live.values()))
        if len(units) + len(earlier) <= slots:
            return arrays(units, todo.live, largest)
        return capped.arrays(units, todo.live, slots=slots, largest=largest, running=earlier)

    def planned(
        self, todo: Todo, request: Callable[[Spec], Resources], largest: int
    ) -> list[Array]:
        """The arrays for what is needed; a pure function of its arguments.

        Args:
            todo: what is needed.
            request: what a stage asks for.
            largest: most elements of an array.
        """
        own = self.settings
        if own.pack != "pull":
            return self._arrays(self.units(todo, request), todo, largest)
        whole = pulling.arrays(
            todo.specs,
            todo.needed,
            request,
            slots=own.array_parallelism,
            startup_s=own.startup_s,
        )
        return pulling.fewer(whole, largest * len(whole), largest)

    def requests(self, units: Sequence[Unit]) -> list[Resources]:
        """What the jobs ask for, each request once, and the round's."""
        return list({*(unit.resources for unit in units), self.settings.requests.of_kind(ROUND)})

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

    def units(self, todo: Todo, request: Callable[[Spec], Resources]) -> list[Unit]:
        """The jobs for what is needed, parents first; a pure function of its arguments.

        Args:
            todo: what is needed.
            request: what a stage asks for.
        """
        own = self.settings
        units = pack(todo.specs, todo.needed, todo.live.keys(), request, by=own.pack)
        if own.pack == "cell":
            shared = [unit for unit in units if not unit.apart]
            merged = merge(shared, slots=own.array_parallelism, startup_s=own.startup_s)
            units = [*merged, *(unit for unit in units if unit.apart)]
        return units

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
        preflight.say_away(asked, groups, say)
        if own.offline:
            availability.check(stages)
        # nothing is dropped before the last job has run
        need = round(sum(float(spec.get("bulk_bytes") or 0.0) for spec in stages))
        store.check(need)
        quota.check(store.home, need, say)
        return groups

    def _payload(self, sweep: Sweep, submission: str) -> Payload:
        own = self.settings

        def payload(array: Array, number: int, unit: Unit) -> StageJob | PullJob:
            if array.pulls:
                return PullJob(
                    home=str(sweep.home),
                    sweep=sweep.name,
                    submission=submission,
                    array=number,
                    device=own.device_of(unit.resources),
                    stages=own.stages,
                    restarts=own.restarts,
                    tries=1 + own.rounds,
                    time_s=FULL * unit.resources.seconds,
                    workers=array.width or len(array.units),
                )
            return StageJob(
                home=str(sweep.home),
                sweep=sweep.name,
                submission=submission,
                keys=unit.keys,
                bulk=unit.bulk,
                device=own.device_of(unit.resources),
                stages=own.stages,
                restarts=own.restarts,
            )

        return payload

    def _prepared(self, sweep: Sweep) -> Callable[[Resources], Resources]:
        own = self.settings

        def ready(asked: Resources) -> Resources:
            named = replace(asked, comment=asked.comment or f"isorate {sweep.name}")
            return prepared(named, threads=own.threads_of(asked), offline=own.offline)

        return ready


def _jobs(submission: Submission, planned: Sequence[Array]) -> dict[str, str]:
    """Stage key -> id of its job, or of the array whose jobs take it for themselves."""
    ids = [job for jobs in submission.jobs for job in jobs]
    own = zip(submission.submitted, ids, strict=True)
    found = {key: job for unit, job in own for key in unit.keys}
    for array, jobs in zip(planned, submission.jobs, strict=False):
        found |= dict.fromkeys(array.pulls, jobs[0].split("_")[0])
    return found
