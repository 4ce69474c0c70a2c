"""Perplexity in windows: the literature's own computation, resumable, and shared by a family."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch

from sweeper.errors import StageFailure
from sweeper.stages import Job, evaluate
from sweeper.stages.evaluate import perplexity
from tests import rounding, tiny
from tests.hub import standins

TASK = """
task: {name}
output_type: token_perplexity
dataset_path: {data}
dataset_name: lines
test_split: test
column: text
separator: "\\n\\n"
window: {window}
metric_list:
  - {{metric: token_perplexity_{window}, higher_is_better: false}}
metadata: {{version: 1.0}}
"""
PARAMS: dict[str, Any] = {
    "model": {},
    "task_sha256": "",
    "backend": "hf",
    "dtype": "float32",
    "batch_size": 4,
    "limit": None,
    "num_fewshot": None,
    "apply_chat_template": False,
    "order_seed": 1234,
    "block": 5,
    "max_gen_toks": None,
    "add_bos_token": None,
    "shared_context": True,
    "keep_text": True,
    "stop_collapsed": False,
    "part": None,
}
METRIC = "token_perplexity_64"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("model") / "checkpoint")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tasks")
    rows = [{"text": line} for line in tiny.sentences(80, seed=9)]
    data = standins.dataset(root / "data", {"lines": {"test": rows}})
    for window in (64, 100_000):
        file = root / f"windows{window}.yaml"
        file.write_text(TASK.format(name=f"windows{window}", data=data, window=window))
    return root


@pytest.fixture
def job(checkpoint: Path, folder: Path, tmp_path: Path) -> Callable[..., Job]:
    def build(*, kin: Any = (), **params: Any) -> Job:
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        out.mkdir()
        (tmp_path / "scratch").mkdir(exist_ok=True)
        return Job(
            params={"task": "windows64", **PARAMS, **params},
            out=out,
            kin=kin,
            scratch=tmp_path / "scratch",
            sources={"model": checkpoint, "tasks": folder},
        )

    return build


def reference(checkpoint: Path, window: int) -> float:
    """As SparseGPT's evaluation does it: mean loss of each window, times its length."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float64).eval()
    text = "\n\n".join(tiny.sentences(80, seed=9))
    ids = AutoTokenizer.from_pretrained(checkpoint)(text, return_tensors="pt").input_ids
    count, losses = ids.numel() // window, []
    with torch.no_grad():
        for i in range(count):
            part = ids[:, i * window : (i + 1) * window]
            losses.append(model(part, labels=part).loss.float() * window)
    return math.exp(float(torch.stack(losses).sum() / (count * window)))


def test_it_is_the_number_of_the_literature(job: Any, checkpoint: Path) -> None:
    done = job(dtype="float64")
    with rounding.exactly():
        result = evaluate.run(done)
        expected = reference(checkpoint, 64)
    found = result["metrics"][METRIC]
    assert result["primary"] == METRIC
    assert found["value"] == pytest.approx(expected, rel=1e-11)
    assert found["value"] == pytest.approx(math.exp(found["log_value"]))
    assert found["stderr"] == pytest.approx(found["value"] * found["log_stderr"])
    assert not found["higher_is_better"]
    rows = pandas.read_parquet(done.out / "documents.parquet")
    assert len(rows) == found["n"] == result["n_docs"]
    rate = rows[f"{METRIC}.sum"].sum() / rows[f"{METRIC}.weight"].sum()
    assert -rate == pytest.approx(found["log_value"])
    assert set(rows[f"{METRIC}.weight"]) == {63.0}


def test_a_killed_attempt_loses_one_window(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate.run(job(limit=6))
    for file in job().scratch.iterdir():
        file.unlink()
    real, asked = perplexity.log_likelihood, []

    def counting(model: Any, window: Any) -> float:
        asked.append(window)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return real(model, window)

    monkeypatch.setattr(perplexity, "log_likelihood", counting)
    with pytest.raises(KeyboardInterrupt):
        evaluate.run(job(limit=6))
    resumed = evaluate.run(job(limit=6))
    assert len(asked) == 4 + 3  # three were kept, the fourth was lost
    assert resumed["metrics"] == whole["metrics"]


def test_progress_says_how_fast_and_how_long(job: Any) -> None:
    said: list[tuple[float, str]] = []
    evaluate.run(replace(job(limit=4), progress=lambda *note, **_: said.append(note)))
    assert [fraction for fraction, _ in said] == [0.25, 0.5, 0.75, 1.0]
    assert said[1][1].startswith("2/4 documents, ")
    assert "tokens/s, 0:" in said[1][1]


def test_a_larger_limit_scores_only_the_new_windows(
    job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = job(limit=3)
    (few.out / "result.json").write_text(json.dumps(evaluate.run(few)))
    real, asked = perplexity.log_likelihood, []

    def counting(model: Any, window: Any) -> float:
        asked.append(window)
        return real(model, window)

    monkeypatch.setattr(perplexity, "log_likelihood", counting)
    grown = evaluate.run(job(limit=7, kin=(few.out,)))
    assert (grown["adopted"], len(asked), grown["n_docs"]) == (3, 4, 7)
    asked.clear()
    assert evaluate.run(job(limit=7))["metrics"] == grown["metrics"]


def test_less_text_than_a_window_is_said(job: Any) -> None:
    with pytest.raises(StageFailure, match=r"less than one window of 100000"):
        evaluate.run(job(task="windows100000"))


def test_a_short_context_is_said(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = perplexity._check_context

    def shorter(model: Any, definition: Any) -> None:
        model.config.max_position_embeddings = 32
        try:
            real(model, definition)
        finally:
            model.config.max_position_embeddings = 512

    monkeypatch.setattr(perplexity, "_check_context", shorter)
    with pytest.raises(StageFailure, match=r"windows of 64 tokens.*context is 32"):
        evaluate.run(job())


def test_windows_do_not_overlap_and_leave_the_rest() -> None:
    assert perplexity.windows(range(10), 4) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_what_is_not_of_this_kind_is_left_to_lm_eval(folder: Path) -> None:
    assert perplexity.find("arc_easy", folder) is None
    assert perplexity.find("arc_easy", None) is None
    found = perplexity.find("windows64", folder)
    assert found is not None
    assert (found.window, found.separator, found.metric) == (64, "\n\n", METRIC)
