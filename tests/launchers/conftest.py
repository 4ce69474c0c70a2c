"""A launcher with stub stages, and an observer that remembers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import tests
from launchers.base import Outcome, StageOutcome
from launchers.local.launcher import LocalLauncher
from launchers.slurm.repair import Round
from sweeper.store.store import Spec, Store
from tests.launchers.fake_slurm import FakeSlurm


class Diary:
    """An observer that keeps all that it was told."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.starts: list[str] = []
        self.ends: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.notes: list[str] = []
        self.closed = 0

    def begin(self, stages: Sequence[Spec], known: Mapping[str, StageOutcome]) -> None:
        self.begun = [s["key"] for s in stages if s["key"] not in known]

    def started(self, spec: Spec, where: str) -> None:
        self.starts.append(spec["key"])

    def progress(self, spec: Spec, fraction: float, note: str) -> None:
        self.notes.append(note)

    def ended(self, spec: Spec, outcome: StageOutcome) -> None:
        self.ends.append((spec["key"], outcome.state))

    def say(self, message: str) -> None:
        self.said.append(message)

    def close(self) -> None:
        self.closed += 1


class Rig:
    """A home with a launcher."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root / "home")
        self.logs = root / "logs"
        self.journal = root / "journal"
        self.diary_type = Diary
        self.diary = Diary()

    def run(self, stages: Sequence[Spec], workers: int = 2, **options: Any) -> Outcome:
        on_done = options.pop("on_done", lambda spec: None)
        self.diary = self.diary_type()
        launcher = LocalLauncher(workers=workers, stages="tests.stubs.stages", **options)
        return launcher.carry_out(
            stages, self.store, observer=self.diary, logs=self.logs, on_done=on_done
        )

    def runs(self) -> list[str]:
        """Names of the executions, sorted."""
        return sorted(p.name.split(".")[0] for p in self.journal.glob("*"))

    def leftovers(self) -> list[str]:
        """What lies in the temporary directory."""
        return [p.name for p in self.store.tmp.glob("*")]


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A fresh home. Workers find the stub stages wherever pytest was started."""
    monkeypatch.setenv("PYTHONPATH", str(Path(tests.__file__).parent.parent))
    return Rig(tmp_path)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """A scripted cluster; its rounds leave MLflow and the report alone."""
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{fake.root / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(Round, "_verb", lambda self, verb: 0)
    return fake
