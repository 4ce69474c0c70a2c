"""Whether a machine can have the tests' cluster: asked before CI runs them on it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "slurm" / "cluster.sh"
CI = Path(__file__).parents[3] / ".ci" / "run"
DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "sbatch", "sacct")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """All programs of a machine, which has no SLURM yet and whose user is root."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "timeout", "realpath", "mkdir", "dirname", "rm", "ln"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    script(folder / "id", "echo 0")
    return folder


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def able(tools: Path) -> subprocess.CompletedProcess[str]:
    command = [str(tools / "bash"), str(SCRIPT), "able"]
    # the daemons of this very machine are not to be found
    text = SCRIPT.read_text().replace("PATH=$PATH:/usr/sbin command", "command")
    copy = tools.parent / "cluster.sh"
    copy.write_text(text)
    command[1] = str(copy)
    return subprocess.run(command, env={"PATH": str(tools)}, capture_output=True, text=True)


def test_only_root_starts_daemons(tools: Path) -> None:
    script(tools / "id", "echo 1000")
    done = able(tools)
    assert (done.returncode, done.stdout) == (1, "SLURM's daemons need root\n")


def test_without_packages_there_is_no_cluster(tools: Path) -> None:
    done = able(tools)
    assert done.returncode == 1
    assert done.stdout.startswith("there is no munged mariadbd")
    assert done.stdout.endswith("and no apt-get to install it\n")
    script(tools / "apt-get", "echo E: cannot be reached; exit 100")
    done = able(tools)
    assert done.returncode == 1
    assert done.stdout.endswith("sacct, and apt-get could not install it\n")
    assert "cannot be reached" in done.stderr


def test_what_is_missing_is_installed(tools: Path) -> None:
    links = "".join(f"ln -sf '{tools}/timeout' '{tools}/{name}'\n" for name in DAEMONS)
    script(tools / "apt-get", links)
    done = able(tools)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "installing Debian's SLURM packages" in done.stderr
    script(tools / "apt-get", "exit 1")
    assert able(tools).returncode == 0, "nothing is missing any more"


ALWAYS = ["lint", "test", "test-kernels-portable", "test-path", "site", "notebook-check"]


@pytest.mark.parametrize(
    ("why_not", "breaks", "status", "made"),
    [
        ("it is cloudy", "nothing", 0, [*ALWAYS, "test-faults", "test-slow"]),
        ("", "nothing", 0, [*ALWAYS, "test-slurm", "test-faults", "test-slow", "test-slurm-long"]),
        ("", "test-slurm", 2, [*ALWAYS, "test-slurm"]),
    ],
)
def test_ci_runs_it_where_it_can_be_run(
    tmp_path: Path, why_not: str, breaks: str, status: int, made: list[str]
) -> None:
    done, log = ci(tmp_path, why_not, breaks, browser=True)
    assert (done.returncode, log) == (status, made)
    left_out = f"test-slurm was not run: {why_not}", "test-slurm-long was not run: no cluster"
    said = "".join(f"make {text}\n" for text in left_out) if why_not else ""
    assert done.stdout == said


def test_ci_goes_on_without_a_browser(tmp_path: Path) -> None:
    done, log = ci(tmp_path, "", "nothing", browser=False)
    assert (done.returncode, log[:2]) == (0, ["apt-get", "lint"])
    assert done.stdout.startswith("No chromium here, and apt-get cannot install it")


def ci(
    root: Path, why_not: str, breaks: str, *, browser: bool
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """What CI says, and what it has carried out; of this very machine it finds and gets nothing."""
    for name in (".ci", "tests/slurm", "bin"):
        (root / name).mkdir(parents=True)
    shutil.copy(CI, root / ".ci" / "run")
    script(root / "tests/slurm/cluster.sh", f"echo '{why_not}'; [ -z '{why_not}' ]")
    tools, log = root / "bin", root / "made"
    for name in ("bash", "dirname", "rm"):
        (tools / name).symlink_to(str(shutil.which(name)))
    script(tools / "make", f"echo $1 >>'{log}'; [ $1 != {breaks} ] || exit 2")
    script(tools / "apt-get", f"echo apt-get >>'{log}'; exit 100")
    for name in ("chromium", "chromedriver") if browser else ():
        script(tools / name, "")
    done = subprocess.run(
        ["bash", str(root / ".ci" / "run")],
        env={**os.environ, "PATH": str(tools)},
        capture_output=True,
        text=True,
    )
    return done, log.read_text().split()
