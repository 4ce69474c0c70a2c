"""The wheel: one top-level package, and a command that works from it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [found] = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The interpreter of a fresh environment that has the wheel and nothing else."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    own = folder / "bin" / "python"
    command = ["install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(own), *command], check=True)
    return own


def said(*command, **kwargs):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, **kwargs
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_has_one_name_at_the_top(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"isorate"}


def test_it_has_what_the_checkout_has(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = said("git", "-C", ROOT, "ls-files", "sweeper", "launchers", "analysis", "conf")
    assert {f"isorate/_packages/{name}" for name in listed.splitlines()} <= names
    assert "isorate/py.typed" in names


def test_it_imports_without_its_dependencies(python, tmp_path):
    code = "import isorate, importlib.util as u; print(isorate.run, u.find_spec('analysis'))"
    assert said(python, "-c", code, cwd=tmp_path).strip().endswith("None")


def test_its_command_and_its_workers_run_its_own_code(python, tmp_path):
    """With the dependencies of this environment, whose own Isorate is a checkout."""
    [site] = (python.parents[1] / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    home = f"home={tmp_path / 'home'}"
    plan = said(python.with_name("isorate"), "plan", "experiment=demo", home, cwd=tmp_path)
    assert "2:8 + 4bit" in plan
    code = "import isorate.start, sweeper, conf; print(sweeper.__file__, conf.__file__)"
    places = said(python, "-c", code, cwd=tmp_path).split()
    assert all(place.startswith(str(site / "isorate" / "_packages")) for place in places)
    usage = said(python, "-P", "-m", "isorate.start", "sweeper.worker.process", "-h", cwd=tmp_path)
    assert "--home" in usage
    import isorate.pinning

    assert isorate.pinning.ROOT == ROOT  # here it is the checkout
