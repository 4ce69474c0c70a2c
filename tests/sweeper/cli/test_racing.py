"""Races from the command line: what is refused, what is expected, and one from end to end."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeper.planning.race import record
from tests import race_rig
from tests.stubs import kinds

RACE = "tasks/race=default"


class Shell:
    """A home, and the grid as it is typed."""

    def __init__(self, root: Path, model: Path) -> None:
        self.home = root / "home"
        self.words = [
            f"home={self.home}",
            "name=raced",
            *race_rig.words(model),
            "+hydra.launcher.stages=tests.stubs.race",
            "hydra.launcher.workers=1",
            "tracking.enabled=false",
        ]
        self.env = {**os.environ, "OMP_NUM_THREADS": "1", "RACE_DOCUMENTS": "200"}
        self.env["RACE_JOURNAL"] = str(root / "journal")

    def __call__(self, verb: str, *more: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sweeper", verb, *self.words, *more]
        return subprocess.run(command, capture_output=True, text=True, env=self.env | env)

    def refused(self, *more: str) -> str:
        """What `run` says that starts nothing."""
        done = self("run", *more)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert not (self.home / "sweeps" / "raced" / "logs").exists()
        return done.stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kinds.model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def shell(tmp_path: Path, model: Path) -> Shell:
    return Shell(tmp_path, model)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tasks.race.alpha=0.7"], "tasks.race.alpha=0.7: a probability above 0 and below 0.5"),
        (["tasks.race.margin=0.001"], "all documents together can show"),
    ],
)
def test_what_no_race_can_be_is_refused(shell: Shell, words: list[str], said: str) -> None:
    assert said in shell.refused(RACE, *words)


def test_a_race_that_has_begun_keeps_its_rule_and_its_cells(
    shell: Shell, tmp_path: Path, model: Path
) -> None:
    base = race_rig.base(race_rig.plan(model.parent))
    record.begin(
        shell.home / "sweeps" / "raced",
        {"settings": race_rig.SETTINGS, "base": base, "overrides": [], "checkpoints": "drop"},
    )
    said = shell.refused(RACE, "tasks.race.alpha=0.01")
    assert "tasks.race.alpha=0.01: the race of raced has begun with 0.05" in said
    assert "name=ANOTHER begins another race" in said
    more = shell.refused(RACE, "quant.bits=16,8,4")
    assert "its race has begun with other cells or tasks: new or changed here: 4bit" in more


def test_plan_tells_what_is_expected_and_touches_nothing(shell: Shell) -> None:
    told = json.loads(shell("plan", RACE, "output=json").stdout)["race"]
    assert told["documents"]["full"] == 6 * (360 + 234)
    assert told["documents"]["race"] <= told["documents"]["full"]
    assert told["basis"] == "assumed spread 0.1"
    assert told["sizes_known"] is True
    assert not shell.home.exists()
    sure = json.loads(shell("plan", RACE, "tasks.race.assumed_spread=0.5", "output=json").stdout)[
        "race"
    ]
    assert sure["documents"]["race"] < told["documents"]["race"], "larger differences end sooner"
    assert "race" not in json.loads(shell("plan", "output=json").stdout)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_race_from_end_to_end_and_all_documents_afterwards(shell: Shell, tmp_path: Path) -> None:
    """Evaluations are killed on the way; the race is extended, and compared with a run without."""
    done = shell("run", RACE, RACE_KILL="/8,unstructured/16")
    assert done.returncode == 0, done.stderr
    assert "race: look 1 is decided" in done.stderr
    assert "over after look 2" in done.stdout
    journal = {p.stem: p.stat().st_size for p in (tmp_path / "journal").iterdir()}
    assert journal["2:4-16-demo_agreement"] == 128
    told = json.loads(shell("status", "output=json").stdout)
    assert told["race"]["over"] is True
    again = shell("run", RACE)
    assert "0 to do" in again.stderr
    extended = shell("run")
    assert extended.returncode == 0, extended.stderr
    whole = {p.stem: p.stat().st_size for p in (tmp_path / "journal").iterdir()}
    assert set(whole.values()) == {200}, "no document twice"
    apart = Shell(tmp_path / "apart", Path(next(w for w in shell.words if "model.id=" in w)[9:]))
    assert apart("run").returncode == 0
    ours, theirs = (_tables(s.home) for s in (shell, apart))
    assert ours == theirs


def _tables(home: Path) -> dict[str, Any]:
    """Scores and retentions of a report, but for how often they were looked at before."""
    folder = home / "sweeps" / "raced" / "report"
    found = {}
    for name in ("tables/scores.csv", "data/retention.csv", "data/scores.csv"):
        with (folder / name).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        found[name] = [{k: v for k, v in row.items() if k != "looks"} for row in rows]
    return found
