"""Evaluations that are killed, split or extended: nothing is asked twice, nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest

from sweeper.stages import Job, evaluate
from sweeper.stages.evaluate import journal
from sweeper.stages.evaluate import requests as runs
from sweeper.store import files
from tests import tiny
from tests.sweeper.stages.conftest import TASKS

MakeJob = Callable[..., Job]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """The documents of every batch that reaches the model."""
    batches: list[set[int]] = []
    timed = runs._timed

    def counted(lm: Any, prepared: Any, batch: runs.Batch) -> Any:
        batches.append({document for document, _ in batch.asked})
        return timed(lm, prepared, batch)

    monkeypatch.setattr(runs, "_timed", counted)
    return batches


def kept(job: Job) -> Job:
    """Runs a job and leaves its result where a store would: its output can be kin."""
    files.write_json(job.out / "result.json", evaluate.run(job))
    return job


def scores(job: Job) -> Any:
    return files.read_json(job.out / "result.json")


def table(job: Job) -> pandas.DataFrame:
    return pandas.read_parquet(job.out / "documents.parquet").drop(columns="seconds")


@pytest.mark.parametrize("name", TASKS)
def test_a_kill_loses_one_batch(
    name: str, make_job: MakeJob, asked: list[set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate.run(make_job(task=name))
    total = len(asked)
    for file in make_job().scratch.iterdir():
        file.unlink()
    asked.clear()
    timed = runs._timed

    def killed(*args: Any) -> Any:
        found = timed(*args)
        if len(asked) == 4:
            raise KeyboardInterrupt  # answered, but not yet written down
        return found

    with monkeypatch.context() as patch:
        patch.setattr(runs, "_timed", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate.run(make_job(task=name))
    asked.clear()
    resumed = evaluate.run(make_job(task=name))
    assert len(asked) == total - 3
    assert resumed["metrics"] == whole["metrics"]


def test_a_journal_outlives_a_half_written_line_but_not_another_question(tmp_path: Path) -> None:
    path = tmp_path / "block.jsonl"
    first = journal.Journal(path, "one")
    first.add(0, [1.5, float("-inf")])
    first.add(1, "text")
    path.write_text(path.read_text()[:-4])
    again = journal.Journal(path, "one")
    assert again.get(0) == [1.5, float("-inf")]
    assert again.get(1) is None
    again.add(1, "new")
    assert journal.Journal(path, "one").get(1) == "new"
    assert journal.Journal(path, "two").get(0) is None


def test_answers_of_another_checkpoint_are_never_reused(
    make_job: MakeJob, tmp_path: Path, asked: list[set[int]]
) -> None:
    first, second = (tiny.make(tmp_path / f"model{i}", seed=i) for i in (1, 2))
    one = kept(make_job(first, task="tiny_text"))
    alone = len(asked)
    # The same scratch directory and the other's output at hand: still all is asked.
    two = kept(replace(make_job(second, task="tiny_text"), kin=[one.out]))
    assert len(asked) == 2 * alone
    assert scores(one)["metrics"] != scores(two)["metrics"]
    assert scores(two)["adopted"] == 0


@pytest.mark.parametrize("name", TASKS)
def test_a_larger_limit_asks_the_new_documents_only(
    name: str, make_job: MakeJob, asked: list[set[int]]
) -> None:
    ten = kept(make_job(task=name, limit=10))
    asked.clear()
    larger = kept(replace(make_job(task=name, limit=20), kin=[ten.out]))
    assert not set.union(*asked) & set(table(ten).doc_id)
    assert scores(larger)["adopted"] == 10
    whole = kept(make_job(task=name, limit=20))
    assert scores(larger)["metrics"] == scores(whole)["metrics"]
    assert scores(larger)["task_hash"] == scores(whole)["task_hash"]
    pandas.testing.assert_frame_equal(table(larger), table(whole))


@pytest.mark.parametrize("name", TASKS)
def test_parts_are_joined_to_the_very_scores_of_the_whole(
    name: str, make_job: MakeJob, asked: list[set[int]]
) -> None:
    whole = kept(make_job(task=name))
    parts = [kept(make_job(task=name, part=[i, 2])) for i in range(2)]
    assert [scores(part)["n_docs"] for part in parts] == [13, 10]  # blocks of 5: 0, 2, 4 and 1, 3
    assert all("metrics" not in scores(part) for part in parts)
    asked.clear()
    joined = kept(replace(make_job(task=name), kin=[part.out for part in parts]))
    assert not asked
    for field in ("metrics", "task_hash", "chance", "unextracted", "collapsed", "primary"):
        assert scores(joined)[field] == scores(whole)[field]
    pandas.testing.assert_frame_equal(table(joined), table(whole))


@pytest.mark.parametrize("name", TASKS)
def test_a_part_without_documents_is_an_answer_too(name: str, make_job: MakeJob) -> None:
    empty = kept(make_job(task=name, limit=5, part=[1, 2]))
    full = kept(make_job(task=name, limit=5, part=[0, 2]))
    joined = kept(replace(make_job(task=name, limit=5), kin=[empty.out, full.out]))
    assert scores(empty)["n_docs"] == 0
    assert scores(joined)["n_docs"] == 5


def test_another_prompt_under_the_same_name_is_asked_again(
    make_job: MakeJob, asked: list[set[int]]
) -> None:
    zero = kept(make_job(num_fewshot=1, limit=5))
    asked.clear()
    kept(replace(make_job(limit=5), kin=[zero.out]))
    assert len(set.union(*asked)) == 5
