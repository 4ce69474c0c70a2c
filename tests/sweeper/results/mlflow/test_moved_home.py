"""A home that was copied or moved writes into itself, never into the one it was made as."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from sweeper.results.mlflow import connection, moved_home, sync
from tests import tracking_data as data


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one cell in MLflow, in a path with a space and a letter outside ASCII."""
    home = tmp_path_factory.mktemp("homes") / "où il est"
    home.mkdir()
    logged(home, "first")
    return home


def logged(home: Path, report: str) -> sync.Summary:
    """One cell written to the home's MLflow, with a report of these words."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()  # by run alone: a process of its own knows none
    plan, store = data.record(data.GRID[:1]), data.FakeStore()
    data.fill(store, plan)
    (home / "report").mkdir(exist_ok=True)
    (home / "report" / "report.html").write_text(report)
    summary = sync.sync(plan, store, home=home, report=home / "report")
    assert summary.complete
    return summary


def contents(home: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(home)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted((home / "mlartifacts").rglob("*"))
        if path.is_file()
    }


def pages(home: Path) -> list[str]:
    return [path.read_text() for path in (home / "mlartifacts").rglob("report.html")]


def test_a_copy_writes_into_itself(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy, before = tmp_path / "a copy", contents(made)
    shutil.copytree(made, copy)
    with caplog.at_level(logging.INFO, connection.__name__):
        changed = logged(copy, "second")
        assert (changed.created, changed.updated) == (0, 1)
        assert logged(copy, "second").updated == 0
    assert contents(made) == before
    assert pages(copy) == ["second"]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1, said
    assert str(made) in said[0]
    assert str(copy) in said[0]


def test_a_copy_whose_original_is_gone_is_as_good(made: Path, tmp_path: Path) -> None:
    copy, moved = tmp_path / "copy", tmp_path / "moved"
    shutil.copytree(made, copy)
    copy.rename(moved)
    logged(moved, "third")
    assert not copy.exists(), "nothing is made again at the old place"
    assert pages(moved) == ["third"]
    again = tmp_path / "moved once more"
    moved.rename(again)
    logged(again, "fourth")
    assert not moved.exists()
    assert pages(again) == ["fourth"]


def test_another_name_of_the_same_home_changes_nothing(made: Path, tmp_path: Path) -> None:
    """As where two hosts mount one file system in different places."""
    link = tmp_path / "link"
    link.symlink_to(made)
    assert moved_home.rebase(made / "mlflow.db", link / "mlartifacts") is None


def test_files_that_were_never_in_the_home_stay_where_they_are(made: Path, tmp_path: Path) -> None:
    copy, elsewhere = tmp_path / "copy", (tmp_path / "elsewhere").as_uri()
    shutil.copytree(made, copy)
    client = connection.connect(connection.default_uri(copy), copy)
    client.create_experiment("theirs", elsewhere)
    moved = tmp_path / "moved"
    copy.rename(moved)
    client = connection.connect(connection.default_uri(moved), moved)
    found = client.get_experiment_by_name("theirs")
    assert found is not None
    assert found.artifact_location == elsewhere
    ours = client.get_experiment_by_name("demo")
    assert ours is not None
    assert ours.artifact_location == f"{(moved / 'mlartifacts').as_uri()}/demo"
