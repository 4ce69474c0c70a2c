"""Nothing outside of the home is written or deleted, whatever lies in the store."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import tests
from sweeper.errors import BadInput, DamagedOutput, IsorateError
from sweeper.planning.sweep import Sweep
from sweeper.store import manifest as manifests
from sweeper.store.store import Store
from sweeper.worker.runner import run_stage
from tests.faults.deeds import BENCH, PRUNE

HOSTILE = (
    "a b",
    "a'b",
    'a"b',
    "$(touch pwned)",
    "`touch pwned`",
    "a\nb",
    "../../etc",
    "/etc",
    "..",
    "",
    "é☃",
    "x" * 300,
    "-rf",
    "a;b",
    "a&b",
    "~root",
)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("do not touch")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "home")
    run_stage(PRUNE, store, BENCH)
    return store


@pytest.mark.parametrize("name", HOSTILE)
def test_a_sweep_is_never_called_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="name="):
        Sweep(tmp_path, name)


@pytest.mark.parametrize(
    "file", ["../../../outside/precious", "/etc/passwd", "checkpoint/../../x", "a//b", "./a"]
)
def test_a_manifest_that_names_files_elsewhere_is_damaged(
    file: str, store: Store, outside: Path
) -> None:
    """Its seal is right: anybody can compute that."""
    path = store.path(PRUNE) / manifests.NAME
    manifest = {k: v for k, v in json.loads(path.read_text()).items() if k != "seal"}
    manifest["files"][file] = {"size": 12, "sha256": "0" * 64}
    path.write_text(json.dumps(manifests.seal(manifest)))
    with pytest.raises(DamagedOutput):
        store.drop_bulk(PRUNE)
    assert not store.present(PRUNE)
    assert (outside / "precious").exists()


@pytest.mark.parametrize("which", ["store", "store/tmp"])
def test_a_store_that_is_a_link_is_refused_and_never_cleaned(
    which: str, tmp_path: Path, outside: Path
) -> None:
    home = tmp_path / "linked"
    target = home / which
    target.parent.mkdir(parents=True)
    target.symlink_to(outside)
    (outside / "tmp" / "key.host.1.ab").mkdir(parents=True)
    (outside / "key.host.1.ab").mkdir()
    store = Store(home)
    with pytest.raises(BadInput, match="is a link"):
        store.check()
    assert store.gc(older_than_s=-1.0, damaged=True) == []
    assert sorted(p.name for p in outside.iterdir()) == ["key.host.1.ab", "precious", "tmp"]


def test_what_lies_behind_a_link_is_not_deleted(store: Store, outside: Path) -> None:
    (outside / PRUNE["key"] / "checkpoint").mkdir(parents=True)
    (outside / PRUNE["key"] / "checkpoint" / "weights.bin").write_text("mine")
    kind = store.root / "make"
    os.rename(kind / PRUNE["key"] / manifests.NAME, outside / PRUNE["key"] / manifests.NAME)
    (kind / PRUNE["key"]).rename(outside / "rest")
    kind.rmdir()
    kind.symlink_to(outside)
    with pytest.raises(IsorateError, match="behind a link"):
        store.drop_bulk(PRUNE)
    assert (outside / PRUNE["key"] / "checkpoint" / "weights.bin").exists()
    assert store.gc(older_than_s=-1.0, damaged=True) == []


def test_links_among_leftovers_go_and_what_they_point_to_stays(store: Store, outside: Path) -> None:
    (store.tmp / "key.elsewhere.1.ab").symlink_to(outside)
    (store.tmp / "key.elsewhere.2.ab").mkdir()
    (store.tmp / "key.elsewhere.2.ab" / "link").symlink_to(outside)
    assert len(store.gc(older_than_s=-1.0)) == 2
    assert (outside / "precious").read_text() == "do not touch"


def test_a_home_with_a_line_break_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="control characters"):
        Store(tmp_path / "a\nb").check()


def test_make_clean_says_what_goes_and_follows_no_link(tmp_path: Path, outside: Path) -> None:
    here = tmp_path / "checkout"
    (here / "pkg" / "__pycache__").mkdir(parents=True)
    (here / "outputs" / "store").mkdir(parents=True)
    (here / ".venv").mkdir()
    (here / "build").symlink_to(outside)
    (here / "other").mkdir()
    (here / "other" / "__pycache__").symlink_to(outside)
    shutil.copy(Path(tests.__file__).parent.parent / "Makefile", here)
    done = subprocess.run(["make", "-s", "clean"], cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Deleting, of this directory only")
    assert (outside / "precious").read_text() == "do not touch"
    left = {str(p.relative_to(here)) for p in here.rglob("*")}
    assert left == {"Makefile", "pkg", "other", "outputs", "outputs/store", ".venv"}
