"""MLflow runs become cells: runs of others by lm-eval's names, and what Isorate itself logged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from sweeper.errors import BadInput
from sweeper.planning import builder
from sweeper.planning.sweep import Sweep
from sweeper.results import outcomes, tables
from sweeper.results.importers import mlflow
from sweeper.results.importers import scores as imported
from sweeper.results.importers.mlflow import Foreign
from sweeper.results.mlflow import connection, reader, sync
from sweeper.store.store import Store
from tests import tiny
from tests.composing import composed
from tests.sweeper.results.importers.test_scores import cell, written

TASKS = ("demo_agreement", "demo_capitals")
PARAMS = {
    "num_fewshot": "0",
    "model_dtype": "torch.bfloat16",
    "limit": "None",
    "apply_chat_template": "False",
    "model": "hf",
}
WANTED = {
    "arc_easy": {"acc": True, "acc_norm": True},
    "gsm8k": {"exact_match": True},
    "wiki": {"word_perplexity": False},
}


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    model = tiny.make(tmp_path_factory.mktemp("model") / "tiny")
    words = [
        "model=custom",
        f"model.id={model}",
        "model.name=tiny",
        "model.group_size=32",
        "quant.bits=16,4",
        f"tasks.names=[{','.join(TASKS)}]",
    ]
    with composed(words) as (config, loader):
        return builder.plan(config, loader, words)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> tuple[Path, str]:
    """A database that somebody else's program has logged to."""
    home = tmp_path_factory.mktemp("theirs")
    uri = connection.default_uri(home)
    connection.connect(uri, home)
    client = MlflowClient(tracking_uri=uri)
    made = client.create_experiment("theirs")

    def log(name: str, metrics: dict[str, float], **params: str) -> None:
        run = client.create_run(made, run_name=name)
        for key, value in metrics.items():
            client.log_metric(run.info.run_id, key, value)
        for key, value in {**PARAMS, **params}.items():
            client.log_param(run.info.run_id, key, value)

    both = {
        "demo_agreement/acc": 0.75,
        "demo_agreement/acc_stderr": 0.04,
        "demo_capitals_acc": 0.5,
        "demo_capitals_acc_stderr": 0.05,
        "loss": 3.0,
    }
    log("dense", both)
    log("half", {"demo_agreement/acc": 0.7})
    log("vllm", both, model="vllm")
    log("wide", both, model_dtype="float32")
    log("chat", both, apply_chat_template="True")
    log("some", both, limit="100")
    log("shots", both, num_fewshot="5")
    log("nothing", {"loss": 1.0})
    return home, uri


def read(server, plan, path, label, tmp_path):
    home, uri = server
    return mlflow.read(path, plan.cells, label, home=home, uri=uri, kept=tmp_path / "kept")


def foreign(**metrics: float) -> Foreign:
    return Foreign(source="x", params={}, metrics=metrics, wanted=WANTED)


@pytest.mark.parametrize(
    "key",
    [
        "arc_easy/acc_norm,none",
        "arc_easy/acc_norm",
        "arc_easy_acc_norm",
        "arc_easy.acc_norm",
        "eval/arc_easy/acc_norm",
        "arc_easy/acc_norm/none",
        "arc_easy_acc_norm_none",
    ],
)
def test_a_metric_is_found_by_each_of_its_names(key) -> None:
    run = foreign(**{key: 0.6, "arc_easy_norm": 1.0, "arc_easy2/acc": 0.9, "acc": 0.1})
    assert run.tasks == ["arc_easy"]
    (only,) = run.scores("arc_easy")["metrics"].items()
    assert (only[0], only[1]["value"], only[1]["stderr"]) == ("acc_norm", 0.6, None)


@pytest.mark.parametrize(
    "key",
    [
        "gsm8k/exact_match_stderr,strict-match",
        "gsm8k/exact_match_stderr/strict-match",
        "gsm8k_exact_match_strict-match_stderr",
    ],
)
def test_standard_errors_and_filters(key) -> None:
    found = foreign(
        **{
            "gsm8k/exact_match,strict-match": 0.3,
            "gsm8k/exact_match,flexible-extract": 0.4,
            key: 0.02,
        }
    ).scores("gsm8k")
    assert found["metrics"]["exact_match:strict-match"]["stderr"] == 0.02
    assert found["metrics"]["exact_match:flexible-extract"]["stderr"] is None
    assert found["primary"] in found["metrics"]


def test_the_first_metric_of_the_task_is_primary_and_perplexity_falls() -> None:
    assert (
        foreign(**{"arc_easy/acc_norm": 0.5, "arc_easy/acc": 0.4}).scores("arc_easy")["primary"]
        == "acc"
    )
    entry = foreign(**{"wiki/word_perplexity": 9.0}).scores("wiki")["metrics"]["word_perplexity"]
    assert entry["higher_is_better"] is False


def test_conditions_of_one_task_go_before_those_of_all() -> None:
    run = Foreign(
        source="x",
        metrics={},
        wanted=WANTED,
        params={
            "eval/num_fewshot": "0",
            "gsm8k/num_fewshot": "5",
            "model": "llama",
            "gsm8k/version": "3.0",
            "dtype": "torch.float16",
        },
    )
    assert run.conditions("arc_easy") == {"num_fewshot": 0, "dtype": "float16"}
    assert run.conditions("gsm8k") == {"num_fewshot": 5, "dtype": "float16", "version": "3.0"}


def test_a_run_of_others_becomes_a_cell(server, plan, tmp_path) -> None:
    ((planned, found),) = read(server, plan, "theirs/dense", "dense", tmp_path)
    sweep = Sweep(tmp_path, "paid")
    record = imported.add(sweep, planned, found)
    assert record["lacking"] == []
    results = tables.results(imported.outcomes(sweep))
    scores = results.scores.set_index("task")
    assert list(scores["value"]) == [0.75, 0.5]
    assert list(scores["stderr"]) == [0.04, 0.05]
    assert "theirs/dense" in results.cells["origin"].iloc[0]


def test_by_its_id_and_with_a_task_that_lacks(server, plan, tmp_path) -> None:
    client = MlflowClient(tracking_uri=server[1])
    experiment = client.get_experiment_by_name("theirs").experiment_id
    (run,) = client.search_runs([experiment], "attributes.run_name = 'half'")
    ((planned, found),) = read(server, plan, run.info.run_id, "4bit", tmp_path)
    assert imported.add(Sweep(tmp_path, "s"), planned, found)["lacking"] == ["demo_capitals"]
    with pytest.raises(BadInput, match="no such run"):
        read(server, plan, "0" * 32, "4bit", tmp_path)


@pytest.mark.parametrize(
    ("run", "told"),
    [
        ("vllm", "backend: 'vllm', here 'hf'"),
        ("wide", "dtype: 'float32', here 'bfloat16'"),
        ("chat", "apply_chat_template: True, here False"),
        ("some", "limit: 100, here None"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_field(server, plan, tmp_path, run, told) -> None:
    ((planned, found),) = read(server, plan, f"theirs/{run}", "dense", tmp_path)
    with pytest.raises(BadInput, match="scored otherwise") as refused:
        imported.add(Sweep(tmp_path, "s"), planned, found)
    assert told in str(refused.value)


def test_shots_differ_from_another_import(server, plan, tmp_path) -> None:
    sweep = Sweep(tmp_path, "s")
    imported.add(sweep, *read(server, plan, "theirs/dense", "dense", tmp_path)[0])
    with pytest.raises(BadInput, match="num_fewshot: 5, here 0"):
        imported.add(sweep, *read(server, plan, "theirs/shots", "4bit", tmp_path)[0])


@pytest.mark.parametrize(
    ("path", "label", "told"),
    [
        ("theirs", "dense", "8 runs, none of them written by Isorate: .*theirs/dense"),
        ("theirs/none", "dense", "0 runs have this name; .*half"),
        ("theirs/dense", None, "which cell was scored.* dense, 4bit"),
        ("others", "dense", "no such experiment"),
    ],
)
def test_what_is_not_there_is_named(server, plan, tmp_path, path, label, told) -> None:
    with pytest.raises(BadInput, match=told):
        read(server, plan, path, label, tmp_path)
    ((planned, nothing),) = read(server, plan, "theirs/nothing", "dense", tmp_path)
    with pytest.raises(BadInput, match="it has scores of"):
        imported.add(Sweep(tmp_path, "s"), planned, nothing)


def test_our_own_runs_come_back_all_at_once(plan, tmp_path) -> None:
    """Imported cells are written to MLflow by `sync`, marked, and imported again from there."""
    from sweeper.results.importers import lm_eval

    first = Sweep(tmp_path / "first", "paid")
    for label, shift in (("dense", 0.0), ("4bit", 0.25)):
        output = lm_eval.read(written(tmp_path / label, shift))
        imported.add(first, cell(plan, label), output)
    first.record(plan, [], "drop")
    uri = connection.default_uri(first.home)
    done = sync.sync(
        first.load(), Store(first.home), home=first.home, uri=uri, imported=imported.outcomes(first)
    )
    assert (done.complete, done.created) == (True, 3)
    back = reader.outcomes("paid", home=tmp_path / "x", uri=uri)
    assert all(o.cell["origin"].startswith("imported from /") for o in back)
    assert all(o.status == "done" for o in back)
    second = Sweep(tmp_path / "second", "again")
    found = read((tmp_path / "y", uri), plan, "paid", None, tmp_path)
    assert {planned.label for planned, _ in found} == {"dense", "4bit"}
    for planned, each in found:
        assert imported.add(second, planned, each)["lacking"] == []
    mine, theirs = (tables.results(imported.outcomes(s)) for s in (first, second))
    columns = ["cell", "task", "metric", "value", "n"]
    assert mine.scores[columns].equals(theirs.scores[columns])
    key = cell(plan, "dense").key
    pair = [r.documents.scored(key, "demo_agreement", "acc") for r in (mine, theirs)]
    assert np.array_equal(pair[0].numerator, pair[1].numerator)
    assert list(pair[0].numerator) == [1, 1, 0, 1]
    states = {o.key: o.status for o in outcomes.joined([], imported.outcomes(second))}
    assert set(states.values()) == {"done"}


def test_a_run_of_ours_that_is_no_cell_here(plan, tmp_path) -> None:
    from sweeper.results.importers import lm_eval

    first = Sweep(tmp_path / "first", "paid")
    imported.add(first, cell(plan, "4bit"), lm_eval.read(written(tmp_path / "o")))
    first.record(plan, [], "drop")
    uri = connection.default_uri(first.home)
    sync.sync(
        first.load(), Store(first.home), home=first.home, uri=uri, imported=imported.outcomes(first)
    )
    dense = [one for one in plan.cells if one.label == "dense"]
    with pytest.raises(BadInput, match="'4bit' of tiny is no cell of this sweep"):
        mlflow.read("paid", dense, None, home=tmp_path, uri=uri, kept=tmp_path / "k")
