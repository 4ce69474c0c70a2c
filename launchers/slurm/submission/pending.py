"""What a submission has to do: the wanted stages, sorted by what became of them so far."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from launchers import leases
from launchers.base import StageOutcome
from launchers.leases import Holder
from launchers.schedule import closure, missing
from launchers.slurm.status import JobTable
from sweeper.store.store import Spec, Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Todo:
    """The stages of one submission.

    Attributes:
        specs: all stages and their ancestors by key, parents before children.
        wanted: keys of the stages that were asked for.
        needed: those to be submitted now -> whether for their bulk.
        live: key of a stage in a job of an earlier submission -> SLURM's id of that job.
        outcomes: what became of the others.
    """

    specs: Mapping[str, Spec]
    wanted: Sequence[str]
    needed: dict[str, bool] = field(default_factory=dict)
    live: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, StageOutcome] = field(default_factory=dict)

    @property
    def relevant(self) -> list[Spec]:
        """The stages that are wanted or needed for those, parents first."""
        return [s for k, s in self.specs.items() if k in self.outcomes or k in self.needed]

    def nothing(self) -> str:
        """What to say when nothing has to be submitted."""
        queued = sum(outcome.state == "queued" for outcome in self.outcomes.values())
        return f"nothing to submit; {queued} stages are queued or running"

    def blocker(self, key: str) -> str:
        """Why a stage cannot come about: a parent that will not; "" if nothing is in its way."""
        for parent in self.specs[key].get("parents", {}).values():
            outcome = self.outcomes.get(parent["key"])
            if outcome is not None and outcome.state in ("failed", "ended", "blocked"):
                return f"its {parent['kind']} stage did not come about: {outcome.reason}"
        return ""


def lacking(stages: Sequence[Spec], store: Store) -> Todo:
    """What the store lacks of the wanted stages, whatever SLURM is doing; touches nothing."""
    specs, wanted = closure(stages), {spec["key"] for spec in stages}
    return Todo(
        specs=specs,
        wanted=[key for key in specs if key in wanted],
        needed=missing(stages, lambda spec, bulk: store.present(spec, bulk=bulk)),
    )


def sort_out(
    stages: Sequence[Spec], store: Store, known: JobTable, given_up: Mapping[str, str]
) -> Todo:
    """What has to be submitted now, and what became of the rest.

    Args:
        stages: the stages wanted.
        store: knows what is done, and which cells are at fault.
        known: what is queued or running.
        given_up: stage key -> why it is not to be tried again now.
    """
    absent = lacking(stages, store)
    todo = Todo(
        specs=absent.specs,
        wanted=absent.wanted,
        live={key: state.job for key, state in known.stages.items() if state.live},
    )
    others = at_work(store.home, absent.needed.keys() - todo.live.keys(), known.over)
    todo.live.update({key: holder.job for key, holder in others.items() if holder.job})
    for key, spec in todo.specs.items():
        if key not in absent.needed:
            if key in absent.wanted:
                todo.outcomes[key] = StageOutcome(state="done")
        elif holder := others.get(key):
            todo.outcomes[key] = StageOutcome(state="queued", reason=f"{holder} works on it")
        elif key in todo.live:
            todo.outcomes[key] = StageOutcome(state="queued", reason=f"job {todo.live[key]}")
        elif failure := store.failure(spec):
            todo.outcomes[key] = StageOutcome(state="failed", reason=failure["message"])
        elif key in given_up:
            todo.outcomes[key] = StageOutcome(state="ended", reason=given_up[key])
        elif blocker := todo.blocker(key):
            todo.outcomes[key] = StageOutcome(state="blocked", reason=blocker)
        else:
            todo.needed[key] = absent.needed[key]
    return todo


def at_work(home: Path, keys: Set[str], over: Callable[[Holder], bool] | None) -> dict[str, Holder]:
    """Of these stages, those that somebody works on, for whatever sweep of the home."""
    found = {
        key: leases.holder(leases.of_stage(home, key), over) for key in keys & leases.stages(home)
    }
    return {key: holder for key, holder in found.items() if holder is not None}


class Submitting:
    """An observer of a submission: one line for what is there, one for what was submitted."""

    def __init__(self, title: str) -> None:
        """``title`` heads what it says."""
        self._title = title

    def begin(self, stages: Sequence[Spec], known: Mapping[str, StageOutcome]) -> None:
        """Say how many stages there are, and what became of them so far."""
        states = Counter(outcome.state for outcome in known.values())
        parts = [f"{count} {state}" for state, count in sorted(states.items())]
        log.info("%s: %d stages (%s)", self._title, len(stages), ", ".join(parts) or "all to do")

    def started(self, spec: Spec, where: str) -> None:
        """Does not happen here."""

    def progress(self, spec: Spec, fraction: float, note: str) -> None:
        """Does not happen here."""

    def ended(self, spec: Spec, outcome: StageOutcome) -> None:
        """Does not happen here."""

    def say(self, message: str) -> None:
        """Log it."""
        log.info("%s", message)

    def close(self) -> None:
        """Nothing to add."""
