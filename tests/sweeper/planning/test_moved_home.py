"""A home that was moved or copied: what its records name below it is found where it is now."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sweeper.planning import moved_home
from sweeper.planning.sweep import Sweep, read_plan
from tests import tiny
from tests.planned import plan_of


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a model and a text in it, and a sweep that reads both."""
    there = tmp_path / "before"
    model = tiny.make(there / "models" / "own-model")
    (there / "text.txt").write_text("the model reads the river\n" * 400)
    plan = plan_of(
        model, "prune=wanda", "prune.sparsity=50", f"calibration.path={there / 'text.txt'}"
    )
    Sweep(there, "s").record(plan, [f"calibration.path={there / 'text.txt'}"], "drop")
    return there


def sources(home: Path) -> set[str]:
    stages = Sweep(home, "s").load()["stages"].values()
    return {path for spec in stages for path in spec["sources"].values()}


def test_a_moved_home_reads_what_was_moved_with_it(home: Path) -> None:
    before, keys = sources(home), set(Sweep(home, "s").load()["stages"])
    after = home.parent / "after"
    home.rename(after)
    found = Sweep(after, "s").load()
    assert sources(after) == {path.replace(str(home), str(after)) for path in before}
    assert all(Path(path).exists() for path in sources(after))
    assert set(found["stages"]) == keys, "where things lie is no part of what they mean"
    assert found["overrides"] == [f"calibration.path={after / 'text.txt'}"]
    assert found["cells"][0]["config"]["model"]["id"] == str(after / "models" / "own-model")


def test_a_copy_reads_its_own_files_and_a_home_that_stays_its_own(home: Path) -> None:
    before = sources(home)
    copy = home.parent / "copy"
    shutil.copytree(home, copy)
    assert all(path.startswith(f"{copy}/") for path in sources(copy))
    assert sources(home) == before


def test_what_was_left_behind_is_read_where_it_is(home: Path) -> None:
    after = home.parent / "after"
    shutil.copytree(home, after)
    (after / "text.txt").unlink()
    assert str(home / "text.txt") in sources(after)


def test_a_plan_that_does_not_say_its_home_stays_as_it_is(home: Path) -> None:
    (plan,) = Sweep(home, "s").plans
    record = read_plan(plan)
    del record[moved_home.HOME]
    assert moved_home.rebased(record, Path("/elsewhere")) == record


@pytest.mark.parametrize(
    ("said", "then"),
    [
        ("model.id=/was/a,/was/gone,/other", "model.id=/now/a,/was/gone,/other"),
        ("/was/a", "/now/a"),
        ("/wasted/a", "/wasted/a"),
        ("prune.sparsity=50", "prune.sparsity=50"),
    ],
)
def test_each_path_of_an_override_is_looked_for(tmp_path: Path, said: str, then: str) -> None:
    (tmp_path / "now").mkdir()
    (tmp_path / "now" / "a").touch()
    record = {moved_home.HOME: str(tmp_path / "was"), "overrides": [_in(tmp_path, said)]}
    assert moved_home.rebased(record, tmp_path / "now")["overrides"] == [_in(tmp_path, then)]


def _in(folder: Path, text: str) -> str:
    for name in ("/was", "/now"):
        text = text.replace(name, f"{folder}{name}")
    return text
