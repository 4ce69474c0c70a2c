"""A sweep of stub stages with its recorded plan, for tests of the SLURM launcher."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launchers.base import Outcome, StageOutcome
from launchers.schedule import closure
from launchers.slurm.launcher import SlurmLauncher
from launchers.slurm.status import JobState, JobTable
from sweeper.planning.sweep import Sweep
from sweeper.store.store import Spec, Store
from tests.stubs.stages import spec

SMALL = {
    "cpus_per_task": 1,
    "gpus_per_node": 0,
    "mem_gb": 0.3,
    "timeout_min": 5,
    "device": "cpu",
    "startup_s": 0.0,
}


class Ear:
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.known: dict[str, StageOutcome] = {}
        self.said: list[str] = []

    def begin(self, stages: Sequence[Spec], known: Mapping[str, StageOutcome]) -> None:
        self.known = dict(known)

    def started(self, spec: Spec, where: str) -> None: ...

    def progress(self, spec: Spec, fraction: float, note: str) -> None: ...

    def ended(self, spec: Spec, outcome: StageOutcome) -> None: ...

    def say(self, message: str) -> None:
        self.said.append(message)

    def close(self) -> None: ...


class SlurmRig:
    """A home, a sweep in it, and launchers for it."""

    def __init__(self, root: Path, name: str = "stub") -> None:
        self.store = Store(root / "home")
        self.sweep = Sweep(self.store.home, name)
        self.journal = root / "journal"
        self.ear = Ear()

    def record(self, stages: Sequence[Spec], **head: Any) -> None:
        """Write the plan down as `isorate run` does."""
        found = closure(stages)
        records = {
            key: {**stage, "parents": {r: p["key"] for r, p in stage["parents"].items()}}
            for key, stage in found.items()
        }
        self.sweep.path.mkdir(parents=True, exist_ok=True)
        number = len(list(self.sweep.path.glob("plan-*.json")))
        plan = {
            "name": self.sweep.name,
            "created": f"2026-01-01T00:00:{number:02d}+00:00",
            "overrides": [],
            "cells": [],
            "stages": records,
            **head,
        }
        (self.sweep.path / f"plan-{number}.json").write_text(json.dumps(plan))

    def launcher(self, **options: Any) -> SlurmLauncher:
        """A launcher of stub stages with small requests."""
        given = {**SMALL, "stages": "tests.stubs.stages", "patience_s": 0.0, **options}
        given["kinds"] = {"round": {"mem_gb": 0.3, "timeout_min": 5}, **given.get("kinds", {})}
        return SlurmLauncher(**given)

    def run(self, stages: Sequence[Spec], **options: Any) -> Outcome:
        """Record the plan and submit it."""
        self.record(stages)
        return self.launcher(**options).carry_out(
            stages, self.store, observer=self.ear, logs=self.sweep.logs
        )

    def table(self) -> JobTable:
        """What became of the submitted stages."""
        return self.launcher().jobs(self.sweep.path)

    def state(self, stage: Spec) -> JobState:
        """What became of one of them."""
        return self.table().stages[stage["key"]]

    def runs(self) -> list[str]:
        """Names of the executions, sorted."""
        return sorted(p.name.split(".")[0] for p in self.journal.glob("*"))

    def done(self, stages: Sequence[Spec]) -> bool:
        """Whether all stages are committed."""
        return all(self.store.is_done(stage) for stage in stages)

    def make(self, name: str, **params: Any) -> dict[str, Any]:
        """A stage that writes a checkpoint."""
        return spec(name=name, label=name, journal=str(self.journal), **params)

    def score(self, name: str, parent: Spec, **params: Any) -> dict[str, Any]:
        """A stage that reads one."""
        return spec(
            "score",
            name=name,
            label=name,
            journal=str(self.journal),
            parents={"model": parent, **params.pop("parents", {})},
            **params,
        )

    def grid(self, pruned: int = 2, quantized: int = 2, tasks: int = 2, **params: Any) -> list[Any]:
        """Pruned checkpoints, each quantized and scored several times, and scored itself."""
        stages: list[Any] = []
        for p in range(pruned):
            prune = self.make(f"p{p}", **params)
            stages.append(prune)
            stages += [self.score(f"p{p}t{t}", prune) for t in range(tasks)]
            for q in range(quantized):
                quantize = self.make(f"p{p}q{q}", parents={"model": prune}, **params)
                stages.append(quantize)
                stages += [self.score(f"p{p}q{q}t{t}", quantize) for t in range(tasks)]
                stages.append(self.score(f"p{p}q{q}m", quantize, parents={"pruned": prune}))
        return stages
