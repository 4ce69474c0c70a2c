"""A group of lm-eval, its subtasks scored by stages of their own and pooled afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest

from analysis.data.documents import Documents
from analysis.data.results import Results
from analysis.data.task_groups import pooled
from sweeper.inputs.tasks.catalog import resolve
from sweeper.stages import Job, evaluate
from tests import rounding
from tests.sweeper.stages.conftest import TASK, TASKS

CELL = {
    "cell": "c",
    "label": "dense",
    "model": "m",
    "prune_method": "",
    "sparsity": 0.0,
    "pattern": "",
    "quant_method": "",
    "bits": 16,
    "mask": "none",
    "calibration_seed": None,
    "status": "done",
    "reason": "",
}
GROUP = """
group: tiny_group
task: [tiny_choice, tiny_rest]
aggregate_metric_list:
  - {metric: acc, weight_by_size: true}
metadata: {version: 1}
"""


@pytest.fixture
def folder(tasks: Path, tmp_path: Path) -> Path:
    """A group of two subtasks, of 23 and of 8 documents."""
    found = Path(shutil.copytree(tasks, tmp_path / "tasks"))
    rest = TASK.format(name="tiny_rest").replace("test_split: test", "test_split: train")
    (found / "tiny_rest.yaml").write_text(rest + TASKS["tiny_choice"])
    (found / "tiny_group.yaml").write_text(GROUP)
    return found


def row(name: str, result: dict[str, Any]) -> dict[str, Any]:
    acc = result["metrics"]["acc"]
    return {
        "cell": "c",
        "task": name,
        "metric": "acc",
        "value": acc["value"],
        "stderr": acc["stderr"],
        "n": acc["n"],
        "higher_is_better": True,
        "primary": True,
        "version": "2",
        "chance": 1 / 3,
        "group": "tiny_group",
    }


def test_a_group_is_recombined_to_the_digits_of_lm_eval(
    folder: Path, checkpoint: Path, make_job: Callable[..., Job], tmp_path: Path
) -> None:
    from lm_eval import evaluator
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=str(folder))
    with rounding.exactly():  # else other batches might break a tie of two choices otherwise
        lm = HFLM(
            pretrained=str(checkpoint),
            dtype="float64",
            device="cpu",
            batch_size=4,
            softmax_dtype="float64",
        )
        expected = evaluator.simple_evaluate(lm, tasks=["tiny_group"], task_manager=manager)
    sources = {"model": checkpoint, "tasks": folder}
    leaves = resolve(["tiny_group"], folder, cache_dir=tmp_path)
    assert {leaf.group for leaf in leaves} == {"tiny_group"}
    rows, documents = [], {}
    for name in ("tiny_choice", "tiny_rest"):
        job = replace(make_job(task=name, dtype="float64"), sources=sources)
        with rounding.exactly():
            rows.append(row(name, evaluate.run(job)))
        documents["c", name] = job.out / "documents.parquet"
    assert [r["n"] for r in rows] == [23, 8]
    results = pooled(
        Results(
            cells=pandas.DataFrame([CELL]),
            scores=pandas.DataFrame(rows),
            documents=Documents(documents),
        )
    )
    (whole,) = results.scores.to_dict("records")
    assert whole["task"] == "tiny_group"
    table = results.documents.table("c", "tiny_group")
    assert table is not None
    assert list(table["subtask"].value_counts()) == [23, 8]
    assert table["prediction"].notna().all()
    group = expected["results"]["tiny_group"]
    assert whole["value"] == pytest.approx(group["acc,none"], rel=1e-15)
    assert whole["stderr"] == pytest.approx(group["acc_stderr,none"], rel=1e-14)
