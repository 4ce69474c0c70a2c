"""What a launcher left with a sweep, read by the front end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sweeper.errors import IsorateError
from sweeper.results import launcher_record

SLURM = "launchers.slurm.launcher.SlurmLauncher"


def submission(sweep: Path, name: str, target: str, **more: object) -> None:
    """A record as a launcher writes it."""
    folder = sweep / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    record = {"submission": name, "launcher": {"_target_": target, **more}}
    (folder / f"{name}.json").write_text(json.dumps(record))


def test_the_latest_submission_says_which_launcher(tmp_path):
    submission(tmp_path, "1", "launchers.gone.Launcher")
    submission(tmp_path, "2", SLURM, threads=3)
    made = launcher_record.launcher(tmp_path)
    assert (made.config["_target_"], made.config["threads"]) == (SLURM, 3)


def test_without_a_submission_there_is_none(tmp_path):
    assert launcher_record.launcher(tmp_path) is None
    assert launcher_record.executions(tmp_path) == []


def test_a_launcher_of_another_version_is_said_in_one_sentence(tmp_path):
    submission(tmp_path, "1", "launchers.gone.Launcher")
    with pytest.raises(IsorateError, match=r"another version.*launchers\.gone\.Launcher.*run it"):
        launcher_record.launcher(tmp_path)


def test_nothing_but_our_launchers_is_made_from_a_record(tmp_path):
    submission(tmp_path, "1", "os.mkdir", path=str(tmp_path / "made"))
    with pytest.raises(IsorateError):
        launcher_record.launcher(tmp_path)
    assert not os.path.exists(tmp_path / "made")
