"""Records of documents, models that are none any more, and the vLLM adapter."""

from __future__ import annotations

import math
import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from sweeper.errors import StageFailure
from sweeper.modeling import model_cache
from sweeper.stages import Job, evaluate
from sweeper.stages.evaluate import records, throughput, vllm_backend
from tests import tiny
from tests.sweeper.stages.conftest import TASK, TASKS

MakeJob = Callable[..., Job]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tiny.make(tmp_path / "broken")
    model = AutoModelForCausalLM.from_pretrained(path)
    model.model.norm.weight.data.fill_(math.nan)
    model.save_pretrained(path)
    return path


def table(job: Job) -> pandas.DataFrame:
    return pandas.read_parquet(job.out / "documents.parquet")


def test_a_broken_model_is_given_up_after_its_first_block(make_job: MakeJob, broken: Path) -> None:
    how = {"task": "tiny_choice", "block": 16}
    stopped = evaluate.run(make_job(broken, stop_collapsed=True, **how))
    assert stopped["stopped"]
    assert stopped["collapsed"]
    assert (stopped["n_docs"], stopped["documents_wanted"]) == (16, 23)
    assert stopped["metrics"]["acc"]["n"] == 16
    asked = evaluate.run(make_job(broken, **how))
    assert not asked["stopped"]
    assert asked["n_docs"] == 23
    assert asked["chance"] == stopped["chance"]


def test_a_sound_model_is_asked_to_the_end(make_job: MakeJob) -> None:
    result = evaluate.run(make_job(stop_collapsed=True, block=16))
    assert (result["stopped"], result["n_docs"]) == (False, 23)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("the same " * 40, True),
        ("!" * 200, True),
        ("Let me think. " + "so it is 4, and " * 30, True),
        (" ".join(tiny.sentences(30)), False),
        ("no no no", False),  # short: an answer, not a loop
        ("", False),
    ],
)
def test_a_loop_is_told_from_an_answer(text: str, says: bool) -> None:
    assert records.loops(text) == says


@pytest.mark.parametrize("keep", [True, False])
def test_generated_text_is_kept_or_dropped(make_job: MakeJob, keep: bool) -> None:
    job = make_job(task="tiny_answer", keep_text=keep, max_gen_toks=40)
    result = evaluate.run(job)
    rows = table(job)
    assert result["unextracted"] == (~rows.extracted.astype(bool)).sum() == 23
    assert rows.text.notna().all() == keep
    assert (rows.seconds > 0).all()
    assert (rows.prompt_hash.str.len() == 64).all()


def test_a_long_answer_is_cut_where_text_is_dropped(
    make_job: MakeJob, tasks: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tasks, tmp_path / "tasks"))
    whole = TASKS["tiny_answer"].replace("(zzz)", "(?s)(.*)").replace('["."]', '["zzz"]')
    (folder / "tiny_whole.yaml").write_text(TASK.format(name="tiny_whole") + whole)
    said = []
    for keep in (True, False):
        job = make_job(task="tiny_whole", keep_text=keep, max_gen_toks=60, limit=3)
        evaluate.run(replace(job, sources={**job.sources, "tasks": folder}))
        said.append(table(job).prediction)
    assert (said[0].str.len() > records._SHORT).all()
    assert list(said[1]) == list(said[0].str[: records._SHORT])


def test_log_likelihoods_of_every_choice_are_kept(make_job: MakeJob) -> None:
    job = make_job()
    evaluate.run(job)
    rows = table(job)
    assert (rows.likelihoods.map(len) == 3).all()
    best = rows.likelihoods.map(lambda found: str(max(range(3), key=found.__getitem__)))
    assert list(best) == list(rows.prediction)


def test_progress_says_how_far_how_fast_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: now)
    said: list[tuple[float, str]] = []
    rates: list[dict[str, float]] = []

    def progress(*note: Any, **known: float) -> None:
        said.append(note)
        rates.append(known)

    counter = throughput.Pace(documents=10, requests=40, progress=progress)
    counter.answered(20, 500, fresh=False)
    assert said[-1] == (0.5, "5/10 documents")  # what was there already says nothing of speed
    now += 5
    counter.answered(10, 250, fresh=True)
    assert said[-1] == (0.75, "8/10 documents, 0.5/s, 50 tokens/s, 0:00:05 left")
    assert rates == [{}, {"documents_per_s": 0.5, "tokens_per_s": 50, "seconds_left": 5}]


class FakeVLLM:
    """The interface of `lm_eval.models.vllm_causallms.VLLM` that the adapter uses."""

    made: list[dict[str, Any]] = []  # noqa: RUF012  # shared on purpose: what was asked for
    calls: list[int] = []  # noqa: RUF012

    def __init__(self, **options: Any) -> None:
        self.made.append(options)
        self.tokenizer = AutoTokenizer.from_pretrained(options["pretrained"])

    tokenizer_name = "tiny"

    def tok_encode(self, string: str) -> list[int]:
        return list(self.tokenizer(string)["input_ids"])

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        self.calls.append(len(requests))
        return [f" {request.args[0].split()[-1]}." for request in requests]


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[FakeVLLM]:
    module = types.ModuleType("lm_eval.models.vllm_causallms")
    module.VLLM = FakeVLLM  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(vllm_backend.devices, "gpus", lambda: 2)
    versions = records.importlib.metadata.version
    monkeypatch.setattr(
        records.importlib.metadata, "version", lambda n: "9.9" if n == "vllm" else versions(n)
    )
    model_cache.forget()
    FakeVLLM.made.clear()
    FakeVLLM.calls.clear()
    return FakeVLLM


VLLM = {"backend": "vllm", "max_model_len": 256, "gpu_memory_utilization": 0.5}


def test_vllm_is_asked_by_block_and_gives_the_same_records(
    make_job: MakeJob, vllm: type[FakeVLLM]
) -> None:
    job = replace(make_job(task="tiny_answer", **VLLM), device="cuda")
    result = evaluate.run(job)
    assert vllm.calls == [5, 5, 5, 5, 3]
    (options,) = vllm.made
    assert options["tensor_parallel_size"] == 2
    assert options["enable_prefix_caching"] is True
    assert (options["max_model_len"], options["gpu_memory_utilization"]) == (256, 0.5)
    assert result["versions"]["vllm"] == "9.9"
    assert result["backend"] == "vllm"
    other = make_job(task="tiny_answer")
    evaluate.run(other)
    assert list(table(job).columns) == list(table(other).columns)


def test_vllm_has_no_log_likelihoods_and_needs_a_gpu(
    make_job: MakeJob, vllm: type[FakeVLLM]
) -> None:
    with pytest.raises(StageFailure, match="generated answers only"):
        evaluate.run(replace(make_job(**VLLM), device="cuda"))
    with pytest.raises(StageFailure, match="needs a GPU"):
        evaluate.run(make_job(task="tiny_answer", **VLLM))


def test_the_adapter_passes_what_lm_eval_has() -> None:
    """lm-eval's class itself, read without vLLM: every option and method exists there."""
    import ast
    import importlib.util

    spec = importlib.util.find_spec("lm_eval.models")
    assert spec is not None
    assert spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0], "vllm_causallms.py").read_text("utf-8")
    (cls,) = [n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == "VLLM"]
    methods = {n.name: n for n in cls.body if isinstance(n, ast.FunctionDef)}
    assert {"tok_encode", "generate_until", "apply_chat_template", "tokenizer_name"} <= set(methods)
    named = {a.arg for a in methods["__init__"].args.args}
    given = {"pretrained", "dtype", "batch_size", "seed", "tensor_parallel_size", "max_model_len"}
    assert given | {"add_bos_token"} <= named
    assert methods["__init__"].args.kwarg is not None  # the rest goes to vLLM's own LLM


def test_a_task_says_what_its_documents_share(
    make_job: MakeJob, checkpoint: Path, tasks: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tasks, tmp_path / "tasks"))
    named = TASK.format(name="tiny_shared") + TASKS["tiny_choice"]
    (folder / "tiny_shared.yaml").write_text(named + "metadata: {version: 1, cluster: [answer]}\n")
    job = replace(make_job(task="tiny_shared"), sources={"model": checkpoint, "tasks": folder})
    result = evaluate.run(job)
    rows = table(job)
    assert rows["cluster"].nunique() > 1
    assert set(rows["cluster"]) <= {"[0]", "[1]", "[2]"}
    assert "cluster" not in result["metrics"]
    assert result["documents_total"] == 23
