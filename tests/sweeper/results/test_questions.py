"""Questions of documents: found by the hash of their answers, kept, and never fetched."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from analysis.data.documents import Documents
from sweeper.results import questions

GOLDEN = Path(__file__).parents[2] / "golden" / "demo" / "documents.parquet"


class Recorded:
    """A sweep with one cell that was scored on the demo's tasks."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self):
        config = {"tasks": {"path": "isorate://tasks"}, "groups": {"both": ["demo_opposites"]}}
        stages = {"evaluate": {"demo_opposites": "k1", "demo_pydoc": "k2"}}
        return {"cells": [{"config": config, "stages": stages}]}


@pytest.mark.parametrize("name", ["demo_opposites", "both"])
def test_tasks_are_those_that_are_named_or_in_a_named_group(tmp_path, name: str) -> None:
    ((one),) = questions._tasks(Recorded(tmp_path), frozenset([name]))
    assert one["task"] == "demo_opposites"
    assert Path(str(one["directory"])).is_dir()


def test_what_was_looked_up_is_kept_and_not_looked_up_again(tmp_path, monkeypatch) -> None:
    calls = []

    def run(command, *, input: str, env, **_):
        calls.append(json.loads(input))
        assert env["HF_HUB_OFFLINE"] == env["HF_DATASETS_OFFLINE"] == "1"
        found = {"h1": {"text": "q", "choices": ["a", "b"], "right": "b"}}
        return SimpleNamespace(stdout=json.dumps(found))

    monkeypatch.setattr(questions.subprocess, "run", run)
    wanted = {"h1": "demo_opposites"}
    for _ in range(2):
        found = questions.known(Recorded(tmp_path), wanted)
        assert found["h1"].answer("0") == "a"
    assert len(calls) == 1
    assert calls[0]["hashes"] == ["h1"]


def test_a_report_does_without_what_cannot_be_found(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        questions.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="Traceback")
    )
    assert questions.known(Recorded(tmp_path), {"h1": "demo_opposites"}) == {}
    assert not (tmp_path / questions.FILE).exists()


@pytest.mark.slow
def test_the_demos_questions_are_found_by_the_hashes_of_their_answers(tmp_path) -> None:
    documents = Documents.load(GOLDEN)
    table = next(t for (_, task), t in documents.sources.items() if task == "demo_opposites")
    first = table["doc_hash"].iloc[0]
    found = questions.known(Recorded(tmp_path), {first: "demo_opposites", "other": "both"})
    assert set(found) == {first}
    assert found[first].text.startswith("The opposite of")
    assert found[first].right in found[first].choices
