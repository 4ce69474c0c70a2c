"""The stages that score a checkpoint: what is in their keys, parts, and growth in a real store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from sweeper.errors import BadInput
from sweeper.planning import builder
from sweeper.planning.plan import Plan, Stage
from sweeper.planning.stages import evaluation
from sweeper.planning.sweep import nested, plan_json
from sweeper.store.store import Store
from sweeper.worker.runner import run_stage
from tests import tiny
from tests.composing import composed

MakePlan = Callable[..., Plan]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tiny.make(tmp_path_factory.mktemp("own") / "model")
    (path / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    return path


@pytest.fixture
def plan(model: Path) -> MakePlan:
    def make(*overrides: str, names: str = "demo_agreement") -> Plan:
        own = [
            "model=custom",
            f"model.id={model}",
            "model.name=tiny",
            "prune.sparsity=0",
            "model.group_size=32",
            f"tasks.names=[{names}]",
            "quant.method=none",
            "quant.bits=16",
        ]
        with composed([]) as (config, loader):
            return builder.plan(config, loader, [*own, *overrides])

    return make


def scored(plan: Plan) -> Stage:
    (stage,) = plan.cells[0].tasks.values()
    return stage


def test_a_task_is_one_stage_unless_its_documents_are_divided(plan: MakePlan) -> None:
    kinds = [s.kind for s in plan("tasks.limit=400").stages.values()]
    assert kinds.count("evaluate") == 1
    divided = plan("tasks.parts=3", "tasks.limit=200")
    whole = scored(divided)
    assert sorted(whole.parents) == ["part 0", "part 1", "part 2"]
    assert [whole.parents[f"part {i}"].params["part"] for i in range(3)] == [[0, 3], [1, 3], [2, 3]]
    assert whole.work == 0
    assert sum(p.work for p in whole.parents.values()) == scored(plan("tasks.limit=200")).work


def test_no_part_is_without_documents(plan: MakePlan) -> None:
    assert len(scored(plan("tasks.parts=9", "tasks.limit=130")).parents) == 3  # blocks of 64
    assert not scored(plan("tasks.parts=9", "tasks.limit=64")).parents


def test_one_text_is_not_divided(plan: MakePlan) -> None:
    """Each part would score all of its windows."""
    assert not scored(plan("tasks.parts=4", names="wikitext_ppl2048")).parents
    assert scored(plan("tasks.parts=4", names="wikitext")).parents


@pytest.mark.parametrize(
    "override", ["tasks.limit=100", "tasks.parts=3", "tasks.stop_collapsed=true"]
)
def test_which_documents_are_asked_is_not_part_of_the_family(plan: MakePlan, override: str) -> None:
    before, after = scored(plan()), scored(plan(override))
    assert before.key != after.key
    assert {s.family for s in (after, *after.parents.values())} == {before.family}


@pytest.mark.parametrize(
    "override",
    [
        "tasks.dtype=float32",
        "tasks.batch_size=2",
        "tasks.num_fewshot=1",
        "tasks.block=32",
        "tasks.apply_chat_template=true",
        "tasks.add_bos_token=true",
        "tasks.max_gen_toks=9",
        "tasks.order_seed=2",
        "tasks.shared_context=false",
        "tasks.keep_text=false",
    ],
)
def test_how_an_answer_comes_about_is_part_of_the_family(plan: MakePlan, override: str) -> None:
    before, after = scored(plan()), scored(plan(override))
    assert before.key != after.key
    assert before.family != after.family


def test_memory_of_a_gpu_means_nothing_to_hf(plan: MakePlan) -> None:
    assert scored(plan()).key == scored(plan("tasks.gpu_memory_utilization=0.5")).key


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("tasks.backend=vlm", "valid: hf, vllm"),
        ("tasks.parts=0", "at least 1"),
        ("tasks.gpu_memory_utilization=1.5", "at most 1"),
    ],
)
def test_what_no_evaluation_can_do_is_refused(plan: MakePlan, override: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        plan(override)


def test_a_backend_that_is_missing_or_unfit_is_refused(
    plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r'pip install "isorate\[vllm\]"'):
        plan("tasks.backend=vllm")
    monkeypatch.setattr(evaluation, "find_spec", lambda name: object())
    with pytest.raises(BadInput, match="demo_agreement compares log-likelihoods"):
        plan("tasks.backend=vllm")


def test_two_backends_never_meet_in_one_sweep(
    plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "find_spec", lambda name: object())
    made = plan("tasks.backend=vllm", names="gsm8k")
    assert scored(made).params["max_model_len"] == 4096
    with pytest.raises(BadInput, match="two backends"):
        plan("tasks.backend=hf,vllm", names="gsm8k")


def run_all(store: Store, plan: Plan) -> dict[str, Any]:
    for spec in nested(plan_json(plan)["stages"]).values():
        if spec["kind"] == "evaluate":
            run_stage(spec, store)
    found: dict[str, Any] = store.result({"kind": "evaluate", "key": scored(plan).key})
    return found


def test_a_store_lends_the_answers_of_a_smaller_limit_and_of_parts(
    plan: MakePlan, tmp_path: Path
) -> None:
    store, how = Store(tmp_path / "home"), ("tasks.block=10", "tasks.dtype=float32")
    first = run_all(store, plan("tasks.limit=20", *how))
    larger = plan("tasks.limit=40", "tasks.parts=2", *how)
    grown = run_all(store, larger)
    assert [first["n_docs"], grown["n_docs"]] == [20, 40]
    parts = [
        store.result({"kind": "evaluate", "key": p.key}) for p in scored(larger).parents.values()
    ]
    assert [part["adopted"] for part in parts] == [10, 10]
    fresh = run_all(Store(tmp_path / "other"), plan("tasks.limit=40", *how))
    assert grown["metrics"] == fresh["metrics"]
    assert fresh["adopted"] == 0


def test_a_damaged_relative_is_not_believed(plan: MakePlan, tmp_path: Path) -> None:
    store, how = Store(tmp_path / "home"), ("tasks.block=10", "tasks.dtype=float32")
    small = plan("tasks.limit=10", *how)
    run_all(store, small)
    table = store.path({"kind": "evaluate", "key": scored(small).key}) / "documents.parquet"
    pandas.read_parquet(table).assign(acc=1.0).to_parquet(table)
    assert run_all(Store(tmp_path / "home"), plan("tasks.limit=20", *how))["adopted"] == 0
