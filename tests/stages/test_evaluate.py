"""The evaluate stage: lm-eval's own digits, block by block, on whatever a model answers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sweeper import task_index
from sweeper.errors import StageFailure
from sweeper.stages import Job, evaluate, held
from sweeper.stages import lm_eval_model as models
from sweeper.stages import lm_eval_run as runs
from sweeper.stages import lm_eval_scores as scoring
from tests import tiny

LOADER = """
import json, pathlib, datasets
def load(**_):
    rows = json.loads((pathlib.Path(__file__).parent / "rows.json").read_text())
    splits = {"test": rows[:23], "train": rows[23:]}
    return {name: datasets.Dataset.from_list(part) for name, part in splits.items()}
"""
COMMON = """
task: {name}
custom_dataset: !function loader.load
test_split: test
doc_to_text: start
metadata: {{version: 2.0}}
"""
# Few-shot examples come from lm-eval's one random stream, so they depend on the order of calls.
TASKS = {
    "tiny_choice": """
output_type: multiple_choice
doc_to_choice: choices
doc_to_target: answer
training_split: train
fewshot_split: train
num_fewshot: 2
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
""",
    "tiny_ending": """
output_type: loglikelihood
doc_to_target: end
metric_list:
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
  - {metric: acc, aggregation: mean, higher_is_better: true}
""",
    "tiny_text": """
output_type: loglikelihood_rolling
doc_to_target: text
metric_list:
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
""",
    "tiny_answer": """
output_type: generate_until
doc_to_target: end
generation_kwargs: {until: ["."], max_gen_toks: 6, do_sample: false}
filter_list:
  - name: strict
    filter:
      - {function: regex, regex_pattern: "(zzz)"}
      - {function: take_first}
  - name: loose
    filter:
      - {function: take_first}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
""",
}
PARAMS: dict[str, Any] = {
    "model": {},
    "task": "tiny_choice",
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
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama, no better than chance but with likelihoods that differ."""
    return tiny.make(tmp_path_factory.mktemp("model") / "checkpoint")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Task files of every output type over 23 documents."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = [
        {
            "start": " ".join(sentence.split()[:-1]),
            "end": " " + sentence.split()[-1],
            "choices": [sentence.split()[-1], tiny.NOUNS[i % 5], tiny.VERBS[i % 7]],
            "answer": i % 3,
            "text": " ".join(tiny.sentences(2 + i % 5, seed=i)),
        }
        for i, sentence in enumerate(tiny.sentences(31, seed=5))
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "loader.py").write_text(LOADER)
    for name, body in TASKS.items():
        (folder / f"{name}.yaml").write_text(COMMON.format(name=name) + body)
    return folder


@pytest.fixture
def make_job(checkpoint: Path, tasks: Path, tmp_path: Path) -> Callable[..., Job]:
    """A job in fresh directories; keyword arguments are parameters."""

    def build(model: Path = checkpoint, *, progress: Any = None, **params: Any) -> Job:
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        more = {"progress": progress} if progress else {}
        return Job(
            params={**PARAMS, **params},
            out=out,
            scratch=scratch,
            sources={"model": model, "tasks": tasks},
            **more,
        )

    return build


def unsplit(checkpoint: Path, tasks: Path, name: str) -> dict[str, Any]:
    """The same task in one go, by lm-eval's own front door."""
    from lm_eval import evaluator
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    batch = 1 if name == "tiny_text" else 4
    lm = HFLM(
        pretrained=str(checkpoint),
        dtype="float32",
        device="cpu",
        batch_size=batch,
        softmax_dtype="float32",
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
    expected = unsplit(checkpoint, tasks, name)
    job = make_job(task=name)
    result = evaluate.run(job)
    for label, metric in result["metrics"].items():
        key = f"{label.partition(':')[0]},{metric['filter']}"
        assert metric["value"] == expected["results"][name][key]
        stderr = expected["results"][name][key.replace(",", "_stderr,")]
        if "perplexity" not in label and label != "bits_per_byte":
            assert metric["stderr"] == stderr
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


def test_a_killed_run_resumes_with_what_it_had(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(fraction: float, note: str = "") -> None:
        if fraction > 0.5:
            raise KeyboardInterrupt

    whole = evaluate.run(make_job(task="tiny_text", order_seed=7))
    for file in make_job().scratch.iterdir():
        file.unlink()
    with pytest.raises(KeyboardInterrupt):
        evaluate.run(make_job(task="tiny_text", order_seed=7, progress=stop))
    (make_job().scratch / "block-00001.json").write_text("")
    asked: list[list[int]] = []
    ask = runs._ask
    monkeypatch.setattr(runs, "_ask", lambda *args: asked.append(args[2]) or ask(*args))
    resumed = evaluate.run(make_job(task="tiny_text", order_seed=7))
    # of five blocks, three were there, and one of these was damaged
    assert [len(block) for block in asked] == [5, 5, 3]
    assert resumed["metrics"] == whole["metrics"]


def test_answers_of_another_checkpoint_are_never_reused(
    make_job: Callable[..., Job], tmp_path: Path
) -> None:
    first, second = (tiny.make(tmp_path / f"model{i}", seed=i) for i in (1, 2))
    one = evaluate.run(make_job(first, task="tiny_text"))
    two = evaluate.run(make_job(second, task="tiny_text"))  # same scratch directory
    assert one["metrics"] != two["metrics"]


def test_a_limit_is_a_prefix_of_the_whole(make_job: Callable[..., Job]) -> None:
    jobs = make_job(), make_job(limit=10)  # whole blocks, so even the batches are the same
    whole, part = (evaluate.run(job) for job in jobs)
    tables = [pandas.read_parquet(job.out / "documents.parquet") for job in jobs]
    head = tables[0][tables[0].position < 10].reset_index(drop=True)
    pandas.testing.assert_frame_equal(head, tables[1])
    assert part["n_docs"] == 10
    assert whole["n_docs"] == 23


@given(count=st.integers(1, 300), seed=st.integers(0, 9), limit=st.integers(1, 300))
def test_the_order_is_a_seeded_permutation(count: int, seed: int, limit: int) -> None:
    order = runs.document_order(count, seed, None)
    assert sorted(order) == list(range(count))
    assert runs.document_order(count, seed, limit) == order[:limit]
    assert count < 20 or order != runs.document_order(count, seed + 1, None)


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
    held.forget()
    evaluate.run(make_job(model, task="tiny_text", limit=5))
    evaluate.run(make_job(model, task="tiny_choice", limit=5))
    assert len(loads) == 1
    assert len(held._held) == 1
    tiny.make(model, seed=3)  # rebuilt in the same place
    evaluate.run(make_job(model, task="tiny_text", limit=5))
    assert len(loads) == 2
    assert len(held._held) == 1


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
    ours, _ = models.load(tmp_path / "packed", dtype="bfloat16", device="cpu")
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
    monkeypatch.setattr(task_index, "path_of", lambda name: None)
    with pytest.raises(StageFailure, match=r"no lm-eval task is called nosuch"):
        evaluate.run(make_job(task="nosuch"))
    with pytest.raises(StageFailure, match=r"valid: hf"):
        evaluate.run(make_job(backend="vllm"))


def test_a_stock_task_is_loaded_by_its_file(
    tasks: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_index, "path_of", lambda name: tasks / f"{name}.yaml")
    task = runs.load_task("tiny_text", None, checkpoint)
    assert task.config.task == "tiny_text"
    assert len(task.eval_docs) == 23
