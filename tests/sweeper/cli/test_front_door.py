"""What a person types first: no arguments, --version, help, a name, a slip of the fingers."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from sweeper.cli import completion
from sweeper.cli.commands import VERBS
from sweeper.cli.commands.logs import settled
from sweeper.cli.main import arguments
from sweeper.errors import BadInput
from sweeper.planning.sweep import latest


def record(home, name, when, labels=("dense", "25% + 4bit")):
    """A recorded plan of a sweep, planned at `when` (seconds since the epoch)."""
    path = home / "sweeps" / name / "plan-1.json"
    path.parent.mkdir(parents=True)
    cells = [
        {
            "key": f"k{n}",
            "label": label,
            "model": "m",
            "tcr": 0.0,
            "config": {"model": {}},
            "stages": {},
        }
        for n, label in enumerate(labels)
    ]
    path.write_text(
        json.dumps(
            {
                "name": name,
                "created": "2026-01-01",
                "overrides": [],
                "checkpoints": "drop",
                "cells": cells,
                "stages": {},
            }
        )
    )
    os.utime(path, (when, when))


def isorate(*words, home):
    command = [sys.executable, "-m", "sweeper", *words]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=home,
        env=os.environ | {"ISORATE_HOME": str(home)},
    )


def test_nothing_at_all_is_a_question_not_a_run(tmp_path):
    done = isorate(home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(f"  {verb} " in done.stdout for verb in VERBS)
    assert not list(tmp_path.iterdir())


def test_version(tmp_path):
    done = isorate("--version", home=tmp_path)
    assert done.stdout.startswith("isorate 0.")


def test_help_of_a_verb(tmp_path):
    done = isorate("help", "status", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert VERBS["status"] in done.stdout
    assert "[NAME]" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pln"], "Did you mean plan"),
        (["help", "reprot"], "Did you mean report"),
        (["run", "demo"], "experiment=demo or name=demo"),
        (["xyzzy"], "See isorate --help"),
    ],
)
def test_a_slip_gets_what_was_meant(words, message):
    with pytest.raises(BadInput, match=message):
        arguments(words)


def test_a_bare_name_is_a_sweep():
    assert arguments(["status", "demo"]) == ["action=status", "name='demo'"]
    assert arguments(["logs", "demo", "cell=4bit"]) == ["action=logs", "name='demo'", "cell=4bit"]
    assert arguments(["status", "output=json"]) == ["action=status", "output=json"]


def test_the_latest_sweep_is_the_one_that_was_planned_last(tmp_path):
    assert latest(tmp_path) is None
    record(tmp_path, "one", 200)
    record(tmp_path, "two", 100)
    assert latest(tmp_path).name == "one"


def test_status_without_a_name_is_about_the_latest(tmp_path):
    record(tmp_path, "older", 100)
    record(tmp_path, "newer", 200)
    done = isorate("status", home=tmp_path)
    assert "newer, the sweep that was planned last" in done.stderr
    assert "25% + 4bit" in done.stdout


@pytest.mark.parametrize(
    ("typing", "offered"),
    [
        (["st"], ["status"]),
        (["status", "de"], ["demo"]),
        (["report", "name=d"], ["name=demo"]),
        (["logs", "demo", "cell=d"], ["cell=dense"]),
        (["logs", "cell='25"], ["cell='25% + 4bit'"]),
        (["run", "de"], []),
    ],
)
def test_completion_knows_sweeps_and_cells(tmp_path, monkeypatch, typing, offered):
    record(tmp_path, "demo", 100)
    monkeypatch.setenv("ISORATE_HOME", str(tmp_path))
    assert completion.offered(typing) == offered


def test_a_log_has_the_last_state_of_a_progress_bar():
    assert settled("a\n 10%|#\r 50%|##\r100%|###\nb\r\nc") == "a\n100%|###\nb\nc"
