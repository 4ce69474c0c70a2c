"""Task names in the front end: leaves, identities and refusals, without lm-eval."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.errors import BadInput
from sweeper.inputs.tasks import catalog, index

BASE = """
custom_dataset: !function loader.load
output_type: multiple_choice
"""
TASK = """
include: base.inc
task: {name}
tag: [mine]
dataset_kwargs: {{file: rows.jsonl}}
metadata: {{version: 1.0, chance: 0.25}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tasks that share a template, and groups of them."""
    root = tmp_path / "tasks"
    root.mkdir()
    (root / "base.inc").write_text(BASE)
    (root / "loader.py").write_text("def load(**_): ...\n")
    (root / "rows.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    for name in ("one", "two"):
        (root / f"{name}.yaml").write_text(TASK.format(name=name))
    (root / "both.yaml").write_text("group: both\ntask: [two, one]\n")
    means = "aggregate_metric_list: [{metric: acc, weight_by_size: %s}]\n"
    (root / "scored.yaml").write_text("group: scored\ntask: [one]\n" + means % "true")
    (root / "equal.yaml").write_text("group: equal\ntask: [one]\n" + means % "false")
    (root / "changed.yaml").write_text("group: changed\ntask: [{task: one, num_fewshot: 3}]\n")
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where lm-eval's names are kept, for all tests of this module."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache directory, and an lm-eval that ships no tasks."""
    (tmp_path / "none").mkdir()
    monkeypatch.setattr(index, "directory", lambda: tmp_path / "none")
    return tmp_path / "cache"


@pytest.mark.parametrize("name", ["one", "mine", "both", "equal", "scored"])
def test_a_group_that_lm_eval_scores_over_all_documents_is_one(
    name: str, folder: Path, empty: Path
) -> None:
    found = catalog.resolve([name], folder, cache_dir=empty)
    assert {task.group for task in found} == {"scored" if name == "scored" else ""}


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["one", "pair"], {"one": "pair", "two": "pair"}),
        (["mine", "pair"], {"one": "pair", "two": "pair"}),
        (["pair", "scored"], {"one": "pair", "two": "pair"}),
        (["scored", "pair"], {"one": "scored", "two": ""}),
    ],
)
def test_a_group_is_one_with_all_of_its_tasks_or_none(
    names: list[str], groups: dict[str, str], folder: Path, empty: Path
) -> None:
    means = "aggregate_metric_list: [{metric: acc}]\n"
    (folder / "pair.yaml").write_text("group: pair\ntask: [one, two]\n" + means)
    found = catalog.resolve(names, folder, cache_dir=empty)
    assert {task.name: task.group for task in found} == groups


def test_own_tasks_and_groups_become_leaves_once(folder: Path, empty: Path) -> None:
    found = catalog.resolve(["two", "both", "mine"], folder, cache_dir=empty)
    assert [task.name for task in found] == ["two", "one"]
    task = found[0]
    assert (task.version, task.chance, task.documents) == (1.0, 0.25, 2)
    assert task.folder == folder
    assert task.output_type == "multiple_choice"
    assert not empty.exists()  # lm-eval's names were not needed


@pytest.mark.parametrize("file", ["one.yaml", "base.inc", "loader.py", "rows.jsonl"])
def test_identity_covers_every_file_of_a_task(file: str, folder: Path, empty: Path) -> None:
    def identity(root: Path) -> str:
        return catalog.resolve(["one"], root, cache_dir=empty)[0].sha256

    before = identity(folder)
    moved = folder.parent / "elsewhere"
    shutil.copytree(folder, moved)
    assert identity(moved) == before
    (moved / file).write_text((moved / file).read_text() + "\n# changed\n")
    assert identity(moved) != before


def test_an_unknown_name_is_refused_with_the_nearest(folder: Path, empty: Path) -> None:
    with pytest.raises(BadInput, match=r"names=onne: no lm-eval task of that name; nearest: one"):
        catalog.resolve(["onne"], folder, cache_dir=empty)


def test_a_group_that_changes_its_tasks_is_refused(folder: Path, empty: Path) -> None:
    with pytest.raises(BadInput, match=r"changes the tasks in it name the tasks .*: one"):
        catalog.resolve(["changed"], folder, cache_dir=empty)


def test_a_damaged_cache_is_made_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, empty: Path
) -> None:
    monkeypatch.setattr(index, "directory", lambda: folder)
    catalog.resolve(["one"], None, cache_dir=empty)
    (file,) = empty.iterdir()
    assert index.version() in file.name
    file.write_text(file.read_text()[:40])
    assert [task.name for task in catalog.resolve(["both"], None, cache_dir=empty)] == [
        "two",
        "one",
    ]
    json.loads(file.read_text())


def test_the_index_is_that_of_lm_eval(cache: Path) -> None:
    """About 12 CPU seconds: lm-eval reads 14,000 files, and so do we once."""
    from lm_eval.tasks import TaskManager

    expected, ours = TaskManager().task_index, index.stock(cache)
    kinds = {"TASK": "task", "PY_TASK": "task", "GROUP": "group", "TAG": "tag"}
    assert {name: kinds[entry.kind.name] for name, entry in expected.items()} == {
        name: entry["kind"] for name, entry in ours.items()
    }
    for name, entry in expected.items():
        if ours[name]["kind"] == "task":
            assert entry.yaml_path == index.directory() / ours[name]["path"]
        elif ours[name]["kind"] == "tag":
            assert sorted(entry.tags) == ours[name]["members"]


def test_stock_tasks_and_groups(cache: Path) -> None:
    found = {
        name: catalog.resolve([name], None, cache_dir=cache)
        for name in ("bbh_cot_fewshot", "mmlu_pro", "minerva_math", "arc_easy")
    }
    assert [len(leaves) for leaves in found.values()] == [27, 14, 7, 1]
    (easy,) = found["arc_easy"]
    assert easy.folder is None
    assert easy.output_type == "multiple_choice"
    assert easy.version == 1.0
    assert len({task.sha256 for leaves in found.values() for task in leaves}) == 49
    assert index.path_of("arc_easy") == index.directory() / "arc/arc_easy.yaml"


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, sweeper.inputs.tasks.catalog; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"lm_eval", "torch", "pandas", "transformers", "datasets"} & set(done.stdout.split())
