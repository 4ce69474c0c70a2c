"""The evaluate stage: lm-eval's own digits, block by block, on whatever a model answers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sweeper.errors import StageFailure
from sweeper.inputs.tasks import index
from sweeper.modeling import model_cache
from sweeper.stages import Job, evaluate
from sweeper.stages.evaluate import hf_backend as models
from sweeper.stages.evaluate import scores as scoring
from sweeper.stages.evaluate import task as task_of
from tests import rounding, tiny
from tests.sweeper.stages.conftest import TASKS

# Other batches, other roundings: of float64 they are 1e-14 of a log-likelihood.
alike = partial(pytest.approx, rel=1e-11)


def unsplit(checkpoint: Path, tasks: Path, name: str) -> dict[str, Any]:
    """The same task in one go, by lm-eval's own front door."""
    from lm_eval import evaluator
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    batch = 1 if name == "tiny_text" else 4
    lm = HFLM(
        pretrained=str(checkpoint),
        dtype="float64",
        device="cpu",
        batch_size=batch,
        softmax_dtype="float64",
    )
    manager = TaskManager(include_defaults=False, include_path=str(tasks))
    found: dict[str, Any] = evaluator.simple_evaluate(
        lm, tasks=[name], task_manager=manager, bootstrap_iters=2
    )
    return found


@pytest.mark.parametrize("name", TASKS)
def test_scores_equal_an_unsplit_run_of_lm_eval(
    name: str, checkpoint: Path, tasks: Path, make_job: Callable[..., Job]
) -> None:
    job = make_job(task=name, dtype="float64")
    with rounding.exactly():
        expected = unsplit(checkpoint, tasks, name)
        result = evaluate.run(job)
    for label, metric in result["metrics"].items():
        key = f"{label.partition(':')[0]},{metric['filter']}"
        assert metric["value"] == alike(expected["results"][name][key])
        stderr = expected["results"][name][key.replace(",", "_stderr,")]
        if "perplexity" not in label and label != "bits_per_byte":
            assert metric["stderr"] == alike(stderr)
        assert metric["n"] == 23
    hashes = [
        s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in expected["samples"][name]
    ]
    from lm_eval.utils import hash_string

    assert result["task_hash"] == hash_string("".join(hashes))
    assert result["version"] == 2.0
    assert result["n_docs"] == 23
    assert name == "tiny_text" or not result["collapsed"]  # untrained: text is as unlikely as noise
    json.dumps(result, allow_nan=False)
    table = pandas.read_parquet(job.out / "documents.parquet")
    assert list(table.doc_id) == list(range(23))
    assert (table.tokens > 0).all()
    assert sorted(table.position) == list(range(23))


def answers(job: Job) -> torch.Tensor:
    """Log-likelihoods of all requests of all documents, in float64."""
    evaluate.run(replace(job, scratch=job.out))  # whose journal knows no other dtype
    table = pandas.read_parquet(job.out / "documents.parquet")
    column = "likelihoods" if table.likelihoods.notna().all() else "word_perplexity.sum"
    return torch.tensor(numpy.hstack(list(table[column])), dtype=torch.float64)


@pytest.mark.parametrize("name", ["tiny_choice", "tiny_ending", "tiny_text"])
@pytest.mark.parametrize("shared", [False, True])
def test_in_float32_answers_are_as_exact_as_its_rounding_allows(
    name: str, shared: bool, make_job: Callable[..., Job]
) -> None:
    how = {"task": name, "limit": 10, "shared_context": shared}
    exact, errors = rounding.drawn(lambda: answers(make_job(dtype="float64", **how)), 6)
    found = answers(make_job(**how)) - exact
    assert found.any()
    assert rounding.within(found, errors)
    bfloat16 = answers(make_job(dtype="bfloat16", **how)) - exact
    assert not rounding.within(bfloat16, errors)


def test_a_limit_is_a_prefix_of_the_whole(make_job: Callable[..., Job]) -> None:
    jobs = make_job(), make_job(limit=10)  # whole blocks, so even the batches are the same
    whole, part = (evaluate.run(job) for job in jobs)
    tables = [pandas.read_parquet(job.out / "documents.parquet") for job in jobs]
    head = tables[0][tables[0].position < 10].reset_index(drop=True)
    pandas.testing.assert_frame_equal(head, tables[1])
    assert part["n_docs"] == 10
    assert whole["n_docs"] == 23


@given(groups=st.lists(st.sampled_from("abc"), min_size=1, max_size=200), seed=st.integers(0, 9))
def test_every_prefix_of_the_order_holds_its_share_of_each_stratum(
    groups: list[str], seed: int
) -> None:
    order = task_of.document_order(groups, seed)
    assert sorted(order) == list(range(len(groups)))
    assert len(groups) < 20 or order != task_of.document_order(groups, seed + 1)
    for length in range(1, len(groups) + 1):
        for group in set(groups):
            expected = length * groups.count(group) / len(groups)
            found = sum(groups[document] == group for document in order[:length])
            assert abs(found - expected) <= 2  # three strata: each may lag or lead by about one


@pytest.mark.parametrize("name", TASKS)
def test_a_model_of_nan_is_a_result(
    name: str, tmp_path: Path, make_job: Callable[..., Job]
) -> None:
    from transformers import AutoModelForCausalLM

    broken = tiny.make(tmp_path / "broken")
    model = AutoModelForCausalLM.from_pretrained(broken)
    model.model.norm.weight.data.fill_(math.nan)
    model.save_pretrained(broken)
    result = evaluate.run(make_job(broken, task=name))
    json.dumps(result, allow_nan=False)
    if name != "tiny_answer":  # greedy decoding of NaN gives words all the same
        assert result["collapsed"]
        assert "finite" in result["collapsed_reason"]
    if name == "tiny_text":
        assert result["metrics"]["word_perplexity"]["value"] is None


def test_text_less_likely_than_by_guessing_is_a_collapse(
    tmp_path: Path, make_job: Callable[..., Job]
) -> None:
    from transformers import AutoModelForCausalLM

    wild = tiny.make(tmp_path / "wild")
    model = AutoModelForCausalLM.from_pretrained(wild)
    model.model.norm.weight.data.mul_(300)  # sure of the wrong token
    model.save_pretrained(wild)
    result = evaluate.run(make_job(wild, task="tiny_text"))
    assert result["collapsed"]
    assert "uniform" in result["collapsed_reason"]


def test_an_overflowing_perplexity_keeps_its_logarithm() -> None:
    from lm_eval.api.metrics import weighted_perplexity

    items = [(-9000.0, 10), (-11000.0, 10)]
    found = scoring._aggregate(weighted_perplexity, items)
    assert found["value"] is None
    assert found["stderr"] is None
    assert found["log_value"] == 1000.0
    assert found["log_stderr"] > 0


def test_the_stderr_of_a_perplexity_agrees_with_a_bootstrap() -> None:
    rng = numpy.random.default_rng(3)
    words = rng.integers(50, 300, 60)
    sums = -words * rng.normal(3.5, 0.4, 60)
    pairs = list(zip(sums.tolist(), words.tolist(), strict=True))
    rate, error = scoring.likelihood_rate(pairs)
    draws = rng.integers(0, 60, (4000, 60))
    resampled = sums[draws].sum(1) / words[draws].sum(1)
    assert rate == pytest.approx(sums.sum() / words.sum())
    assert error == pytest.approx(resampled.std(), rel=0.06)
    assert math.isnan(scoring.likelihood_rate(pairs[:1])[1])
    assert scoring.likelihood_rate([-1.0, -3.0]) == (-2.0, 1.0)


def test_likelihoods_are_summed_in_float32(make_job: Callable[..., Job]) -> None:
    job = make_job(task="tiny_text", dtype="bfloat16")
    evaluate.run(job)
    sums = pandas.read_parquet(job.out / "documents.parquet")["word_perplexity.sum"]
    rounded = torch.tensor(sums.to_numpy()).to(torch.bfloat16).double().numpy()
    assert (sums.to_numpy() != rounded).mean() > 0.9


def test_one_load_serves_every_task_of_a_checkpoint(
    tmp_path: Path, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.make(tmp_path / "model")
    loads: list[Path] = []
    load = models._model
    monkeypatch.setattr(models, "_model", lambda *args: loads.append(args[0]) or load(*args))
    model_cache.forget()
    evaluate.run(make_job(model, task="tiny_text", limit=5))
    evaluate.run(make_job(model, task="tiny_choice", limit=5))
    assert len(loads) == 1
    assert len(model_cache._held) == 1
    tiny.make(model, seed=3)  # rebuilt in the same place
    evaluate.run(make_job(model, task="tiny_text", limit=5))
    assert len(loads) == 2
    assert len(model_cache._held) == 1


def test_packed_weights_are_unpacked_once_and_exactly(tmp_path: Path) -> None:
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from transformers import AutoModelForCausalLM

    dense = tiny.make(tmp_path / "dense")
    model = AutoModelForCausalLM.from_pretrained(dense, dtype=torch.bfloat16)
    group = {
        "targets": ["Linear"],
        "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32},
    }
    recipe = QuantizationModifier(config_groups={"all": group}, ignore=["lm_head"])
    oneshot(model=model, recipe=recipe)
    model.save_pretrained(tmp_path / "packed", save_compressed=True)
    tiny.tokenizer(tmp_path / "packed")
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "packed", dtype=torch.bfloat16).eval()
    ours = models.load(tmp_path / "packed", dtype="bfloat16", device="cpu").model
    names = {name for name, _ in ours.named_parameters()}
    assert not any("packed" in name for name in names)
    assert "model.layers.0.mlp.up_proj.weight" in names
    tokens = torch.arange(2, 60).unsqueeze(0)
    with torch.no_grad():
        assert torch.equal(ours(tokens).logits, stock(tokens).logits)


def test_answers_without_the_pattern_are_counted(make_job: Callable[..., Job]) -> None:
    result = evaluate.run(make_job(task="tiny_answer"))
    assert result["unextracted"] == 23
    assert list(result["metrics"]) == ["exact_match:strict", "exact_match:loose"]
    assert result["primary"] == "exact_match:strict"
    assert result["chance"] == 0.0


def test_length_of_answers_and_shots_can_be_set(make_job: Callable[..., Job]) -> None:
    jobs = [make_job(task="tiny_answer", max_gen_toks=n, limit=5) for n in (1, 6)]
    short, longer = (evaluate.run(job)["tokens"] for job in jobs)
    assert short < longer
    assert evaluate.run(make_job(num_fewshot=1, limit=5))["num_fewshot"] == 1


def test_chance_is_stated_or_counted(make_job: Callable[..., Job]) -> None:
    assert evaluate.run(make_job(limit=5))["chance"] == pytest.approx(1 / 3)
    assert evaluate.run(make_job(task="tiny_text", limit=5))["chance"] is None


def test_what_cannot_be_evaluated_fails_with_a_reason(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "path_of", lambda name: None)
    with pytest.raises(StageFailure, match=r"no lm-eval task is called nosuch"):
        evaluate.run(make_job(task="nosuch"))
    with pytest.raises(StageFailure, match=r"needs a GPU"):
        evaluate.run(make_job(backend="vllm"))
    with pytest.raises(StageFailure, match=r"valid: hf, vllm"):
        evaluate.run(make_job(backend="nosuch"))


def test_a_stock_task_is_loaded_by_its_file(
    tasks: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "path_of", lambda name: tasks / f"{name}.yaml")
    task = task_of.load_task("tiny_text", None, checkpoint)
    assert task.config.task == "tiny_text"
    assert len(task.eval_docs) == 23
