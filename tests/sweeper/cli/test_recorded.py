"""A name alone is the recorded sweep; with anything of a grid it is a further plan of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.cli import recorded
from sweeper.store import files


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "sweeps" / "mine"
    for n, words in enumerate(
        (
            ["experiment=grid"],
            ["action=run", "name=mine", "quant.bits=16,4", "tasks.limit=20", "home=/elsewhere"],
        )
    ):
        head = {
            "name": "mine",
            "created": f"2026-01-0{n + 1}",
            "overrides": words,
            "checkpoints": "drop",
            "cells": [],
            "stages": {},
        }
        files.write_whole(folder / f"plan-{n}.json", head)
    return tmp_path / "home"


@pytest.mark.parametrize("verb", ["run", "plan", "retry", "prefetch"])
def test_a_name_alone_takes_up_the_newest_arguments(home: Path, verb: str) -> None:
    words = [
        f"action={verb}",
        "name=mine",
        f"home={home}",
        "output=json",
        "hydra/launcher=slurm",
        "tracking.enabled=false",
    ]
    assert recorded.arguments(words) == ["quant.bits=16,4", "tasks.limit=20", *words]


def test_without_a_verb_and_in_the_home_of_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISORATE_HOME", str(home))
    assert recorded.arguments(["name=mine"])[0] == "quant.bits=16,4"


@pytest.mark.parametrize(
    "words",
    [
        ["action=run", "name=mine", "quant.bits=3"],
        ["action=run", "name=mine", "prune=none"],
        ["action=run", "name=mine", "+model.new=1"],
        ["action=run", "name=mine", "~calibration"],
        ["action=status", "name=mine"],
        ["action=run", "name=other"],
        ["action=run", "name=../up"],
        ["action=run"],
        ["--help"],
    ],
)
def test_what_says_more_or_means_no_grid_stays_as_typed(home: Path, words: list[str]) -> None:
    words = [*words, f"home={home}"]
    assert recorded.arguments(words) == words


@pytest.mark.slow
def test_the_plan_of_a_name_is_the_recorded_one_and_can_be_forgotten(tmp_path: Path) -> None:
    from tests.faults import whole

    home, model = tmp_path / "home", whole.model(tmp_path / "model")
    first = whole.isorate("run", whole.words(home, model, "tasks.limit=20"))
    assert first.returncode == 0, first.stderr
    grown = whole.isorate("run", whole.words(home, model, "tasks.limit=40"))
    assert grown.returncode == 0, grown.stderr
    named = [f"home={home}", "name=whole", "output=json"]
    plan = whole.isorate("plan", named)
    assert plan.returncode == 0, plan.stderr
    planned = json.loads(plan.stdout)
    assert {cell["label"] for cell in planned["cells"]} == whole.LABELS
    assert planned["stages"]["done"] == planned["stages"]["total"]
    assert {c["config"]["tasks"]["limit"] for c in planned["cells"]} == {40}
    states = json.loads(whole.isorate("status", named).stdout)["cells"]
    assert sorted(cell["label"] for cell in states) == sorted(whole.LABELS)
    assert whole.isorate("report", named).returncode == 0
    plans = json.loads(whole.isorate("forget", named).stdout)["plans"]
    assert ["tasks.limit=20" in one["arguments"] for one in plans] == [True, False]
    shown = json.loads(whole.isorate("forget", [*named, f"plan={plans[1]['plan'][:8]}"]).stdout)
    assert not shown["forgotten"]
    gone = whole.isorate("forget", [*named, f"plan={plans[1]['plan'][:8]}", "yes=true"])
    assert json.loads(gone.stdout)["forgotten"]
    back = json.loads(whole.isorate("plan", named).stdout)
    assert {c["config"]["tasks"]["limit"] for c in back["cells"]} == {20}
    refused = whole.isorate("forget", [*named, "plan=nothing"])
    assert refused.returncode == 2
    assert plans[0]["plan"] in refused.stderr
