"""What a launcher left with a sweep, read by the front end."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace as Some

import pytest

from sweeper.cli.commands import cancel
from sweeper.errors import BadInput, IsorateError
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


def test_a_copied_home_leaves_the_jobs_of_the_original_alone(tmp_path):
    home, copy = tmp_path / "home", tmp_path / "copy"
    submission(home / "sweeps" / "s", "1", SLURM)
    path = home / "sweeps" / "s" / "jobs" / "1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"home": str(home)}))
    assert launcher_record.copied_from(home / "sweeps" / "s") is None
    shutil.copytree(home, copy)
    sweep = copy / "sweeps" / "s"
    assert (launcher_record.submissions(sweep), launcher_record.launcher(sweep)) == ([], None)
    assert launcher_record.copied_from(sweep) == home
    submission(sweep, "2", SLURM)  # one of its own
    assert [record["submission"] for record in launcher_record.submissions(sweep)] == ["2"]
    shutil.rmtree(home)  # then it was moved, and its jobs are the sweep's
    assert [record["submission"] for record in launcher_record.submissions(sweep)] == ["1", "2"]


def test_a_home_of_two_names_is_no_copy(tmp_path):
    home = tmp_path / "home"
    submission(home / "sweeps" / "s", "1", SLURM)
    path = home / "sweeps" / "s" / "jobs" / "1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"home": str(home)}))
    (tmp_path / "mount").symlink_to(home)
    assert len(launcher_record.submissions(tmp_path / "mount" / "sweeps" / "s")) == 1


def test_cancel_in_a_copy_names_the_original(tmp_path):
    home, copy = tmp_path / "home", tmp_path / "copy"
    submission(home / "sweeps" / "s", "1", SLURM)
    path = home / "sweeps" / "s" / "jobs" / "1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"home": str(home)}))
    shutil.copytree(home, copy)
    sweep = Some(path=copy / "sweeps" / "s", name="s", load=lambda: None)
    with pytest.raises(BadInput, match=rf"home={copy}: it is a copy.*cancel s home={home}"):
        cancel.perform(Some(sweep=sweep, home=copy))  # type: ignore[arg-type]
