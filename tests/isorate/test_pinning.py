"""Our processes import our packages, whatever a project calls its own folders."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from isorate import pinning

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Somebody's project with folders of all our names, each of which fails when it is imported."""
    folder = tmp_path_factory.mktemp("project")
    for name in pinning.PACKAGES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise SystemExit('the {name} of a project')")
    (folder / "conf" / "config.yaml").write_text("learning_rate: 0.1\n")
    (folder / "isorate").mkdir()  # a clone of ours, say
    return folder


def ran(project, *command):
    """In the project, with PYTHONPATH=. as people set it; our own place comes last."""
    path = os.pathsep.join([".", str(ROOT)])
    return subprocess.run(
        [sys.executable, "-P", *command],
        capture_output=True,
        text=True,
        cwd=project,
        env=os.environ | {"PYTHONPATH": path},
    )


def test_the_command_plans_and_reports_in_such_a_project(project, tmp_path):
    done = ran(project, "-m", "isorate", "plan", "experiment=demo", f"home={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "2:8 + 4bit" in done.stdout
    done = ran(project, "-m", "isorate", "reproduce", "only=jsq", f"home={tmp_path}")
    assert done.returncode == 0, done.stderr  # which is all of `analysis`


@pytest.mark.parametrize(
    "module",
    [
        "sweeper.worker.process",
        "sweeper.worker.prefetch",
        "sweeper.modeling.examine",
        "sweeper.stages.evaluate.questions",
        "launchers.slurm.job.entrypoint",
    ],
)
def test_every_program_of_ours_is_found(project, module):
    code = f"import isorate.start, {module} as it; print(it.__file__, callable(it.main), sep='|')"
    done = ran(project, "-c", code)
    assert done.stdout.strip() == f"{ROOT / module.replace('.', '/')}.py|True"


def test_a_program_has_its_own_arguments_and_its_status(project):
    done = ran(project, "-m", "isorate.start", "sweeper.results.bundle")
    assert done.returncode == 2
    assert "usage" in done.stderr
    done = ran(project, "-m", "isorate.start", "sweeper.worker.process", "--nonsense")
    assert done.returncode == 2
    assert "--home" in done.stderr


def test_what_multiprocessing_spawns_from_a_program_has_our_packages(project, tmp_path):
    (tmp_path / "spawning.py").write_text(
        "import multiprocessing\n"
        "def inside(queue):\n"
        "    import analysis\n"
        "    queue.put(analysis.__file__)\n"
        "def main():\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    queue = context.Queue()\n"
        "    child = context.Process(target=inside, args=(queue,))\n"
        "    child.start()\n"
        "    print(queue.get(timeout=60))\n"
        "    child.join()\n"
    )
    code = [*pinning.program("spawning")[2:]]
    path = os.pathsep.join([".", str(ROOT), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-P", *code],
        capture_output=True,
        text=True,
        cwd=project,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.stdout.strip() == str(ROOT / "analysis" / "__init__.py"), done.stderr


def test_another_hydra_application_of_the_environment_imports_nothing_of_ours(project):
    code = (
        "import sys\n"
        "from hydra.core.plugins import Plugins\n"
        "Plugins.instance()\n"
        f"print([m for m in sys.modules if m.split('.')[0] in {pinning.PACKAGES}])"
    )
    done = ran(project, "-W", "error", "-c", code)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_strangers_package_that_is_there_already_is_named(monkeypatch):
    stranger = types.ModuleType("conf")
    stranger.__path__ = ["/somewhere/conf"]
    monkeypatch.setitem(sys.modules, "conf", stranger)
    with pytest.raises(ImportError, match="conf was imported from /somewhere/conf before"):
        pinning.pin()


def test_pinning_twice_is_pinning_once(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    pinning.pin()
    pinning.pin()
    assert sys.meta_path.count(pinning.Finder) == 1
    assert importlib.import_module("analysis").__file__ == str(ROOT / "analysis" / "__init__.py")


def test_no_process_of_ours_is_started_past_it():
    """Only `isorate.pinning.program` knows how an interpreter is called."""
    packages = ("isorate", "sweeper", "launchers", "analysis")
    found = [
        path.relative_to(ROOT).as_posix()
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        if "sys.executable" in path.read_text(encoding="utf-8")
    ]
    assert found == ["isorate/pinning.py"]
