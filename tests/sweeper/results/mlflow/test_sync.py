"""The projection into MLflow: idempotent, self-repairing, and never the cause of a loss."""

from __future__ import annotations

import http.server
import json
import logging
import multiprocessing
import os
import socket
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from sweeper.errors import BadInput, IsorateError
from sweeper.results.mlflow import best_cells, connection, reconcile, registry, sync, ui_view
from sweeper.results.mlflow import experiment as experiments
from sweeper.results.mlflow.run import CELL
from sweeper.store.progress import Headway
from tests import tracking_data as data

SMALL = data.GRID[:1] + data.GRID[4:6]


@pytest.fixture(scope="session")
def blank(tmp_path_factory):
    """An initialised database: the migration takes seconds, once is enough."""
    home = tmp_path_factory.mktemp("blank")
    connection.connect(connection.default_uri(home), home)
    return home / "mlflow.db"


@pytest.fixture
def home(tmp_path, blank, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(blank.read_bytes())
    return tmp_path


@pytest.fixture
def plan():
    return data.record(SMALL)


@pytest.fixture
def store(plan):
    store = data.FakeStore()
    data.fill(store, plan)
    return store


def client_of(home):
    return connection.connect(connection.default_uri(home), home)


def runs_of(home, name="demo"):
    client = client_of(home)
    experiment = client.get_experiment_by_name(name)
    found = client.search_runs([experiment.experiment_id], order_by=["metrics.TCr DESC"])
    return {run.info.run_name: run for run in found}


def dump(home):
    """Everything in the database, to compare two moments."""
    with sqlite3.connect(home / "mlflow.db") as database:
        return list(database.iterdump())


def counts(summary):
    return summary.created, summary.updated, summary.unchanged, summary.removed


def test_one_run_per_cell_below_one_parent(home, plan, store):
    summary = sync.sync(plan, store, home=home)
    assert summary.complete
    assert counts(summary) == (4, 0, 0, 0)
    runs = runs_of(home)
    assert set(runs) == {"demo", "dense", "3bit", "25% + 4bit"}
    parent = runs.pop("demo")
    assert {r.data.tags["mlflow.parentRunId"] for r in runs.values()} == {parent.info.run_id}
    assert {r.info.status for r in (parent, *runs.values())} == {"FINISHED"}
    joint = runs["25% + 4bit"]
    assert joint.data.metrics["SrCr_j"] == pytest.approx(0.25 * joint.data.metrics["Sr"])
    assert joint.data.params["bits"] == "4"
    assert joint.info.end_time - joint.info.start_time == 60_000
    assert joint.data.tags.get("mlflow.source.git.commit", "") == experiments.commit()


def test_runs_sort_by_tcr_and_srcr(home, plan, store):
    sync.sync(plan, store, home=home)
    client = client_of(home)
    experiment = client.get_experiment_by_name("demo").experiment_id
    for metric in ("TCr", "SrCr_j", "SrCr_q"):
        found = client.search_runs([experiment], order_by=[f"metrics.{metric} DESC"])
        values = [r.data.metrics[metric] for r in found if metric in r.data.metrics]
        assert values
        assert values == sorted(values, reverse=True)


def test_the_ui_finds_a_prepared_table(home, plan, store):
    summary = sync.sync(plan, store, home=home)
    experiment = client_of(home).get_experiment_by_name("demo")
    assert (
        summary.view == f"/#/experiments/{experiment.experiment_id}/runs?viewStateShareKey=isorate"
    )
    view = json.loads(experiment.tags["mlflow.sharedViewState.isorate"])
    assert {"metrics.`Sr`", "metrics.`TCr`", "params.`bits`"} <= {*view["selectedColumns"]}
    assert {
        "metrics.`size_mb`",
        "metrics.`bits_per_weight`",
        "params.`prune`",
        "params.`quant`",
    } <= {*view["selectedColumns"]}
    assert view["orderByKey"] == "metrics.`TCr`"
    charts = {(c["xaxis"]["key"], c["yaxis"]["key"]) for c in view["compareRunCharts"]}
    assert charts == {("TCr", "Sr"), ("size_mb", "Sr")}
    server = ui_view.link("http://host:5000/", "7")
    assert server.startswith("http://host:5000/#/experiments/7/runs?")


def test_search_runs_has_one_row_a_cell_that_is_usable_as_it_is(home, plan, store, monkeypatch):
    import mlflow

    sync.sync(plan, store, home=home)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", connection.default_uri(home))
    experiment = client_of(home).get_experiment_by_name("demo").experiment_id
    frame = mlflow.search_runs([experiment], filter_string=best_cells.FILTER)
    assert set(frame["tags.mlflow.runName"]) == {"dense", "3bit", "25% + 4bit"}
    joint = frame.set_index("tags.mlflow.runName").loc["25% + 4bit"]
    assert (joint["metrics.TCr"], joint["params.sparsity"], joint["params.bits"]) == (
        81.25,
        "25",
        "4",
    )
    assert joint["metrics.Sr"] > 0
    # Three tasks with score, retention and two errors; the rest is the same whatever is asked.
    assert len(frame.columns) <= 64
    everything = mlflow.search_runs([experiment])
    assert list(everything["tags.isorate.kind"]).count("sweep") == 1


def test_an_exported_checkpoint_becomes_versions_of_a_registered_model(
    home, plan, store, monkeypatch
):
    import mlflow

    checkpoint = home / "exported"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    key = plan["cells"][2]["key"]
    with pytest.raises(IsorateError, match="isorate sync name=demo"):
        registry.register(checkpoint, "small", key, sweep="demo", home=home, uri=None)
    sync.sync(plan, store, home=home)
    for version in ("1", "2"):
        address = registry.register(checkpoint, "small", key, sweep="demo", home=home, uri=None)
        assert address == f"models:/small/{version}"
    found = client_of(home).get_model_version("small", "2")
    assert found.run_id == runs_of(home)["25% + 4bit"].info.run_id
    assert (found.tags["isorate.label"], found.tags["TCr"]) == ("25% + 4bit", "81.25")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", connection.default_uri(home))
    copied = mlflow.artifacts.download_artifacts("models:/small/2", dst_path=str(home / "copy"))
    assert (Path(copied) / "config.json").read_text() == "{}"
    assert counts(sync.sync(plan, store, home=home)) == (0, 0, 4, 0)


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b"])
def test_a_name_that_the_registry_does_not_take_is_refused_before(name):
    with pytest.raises(BadInput, match="register="):
        registry.check(name)


def test_datasets_are_named_once(home, plan, store):
    sync.sync(plan, store, home=home)
    sync.sync(plan, store, home=home)
    inputs = runs_of(home)["25% + 4bit"].inputs.dataset_inputs
    named = sorted((tag.value, one.dataset.name) for one in inputs for tag in one.tags)
    assert len(named) == len(set(named)) == 4
    assert named[0][0] == "calibration"
    assert {name for context, name in named if context == "evaluation"} == set(data.TASKS)


def test_twice_changes_nothing(home, plan, store):
    sync.sync(plan, store, home=home)
    before = dump(home)
    assert counts(sync.sync(plan, store, home=home)) == (0, 0, 4, 0)
    assert dump(home) == before


def test_all_numbers_of_a_run_go_in_one_batch(home, plan, store, monkeypatch):
    from mlflow import MlflowClient

    calls = []
    log_batch = MlflowClient.log_batch
    monkeypatch.setattr(
        MlflowClient, "log_batch", lambda *args: (calls.append(args[1]), log_batch(*args))[1]
    )
    sync.sync(plan, store, home=home)
    assert len(calls) == len(set(calls)) == 4


def test_a_growing_sweep_updates_only_what_changed(home, plan):
    store = data.FakeStore()
    data.fill(store, plan, cells=1)
    assert counts(sync.sync(plan, store, home=home)) == (2, 0, 0, 0)
    runs = runs_of(home)
    assert set(runs) == {"demo", "dense"}
    assert runs["demo"].info.status == "RUNNING"
    dense = runs["dense"].info.run_id
    data.fill(store, plan)
    assert counts(sync.sync(plan, store, home=home)) == (2, 1, 1, 0)
    runs = runs_of(home)
    assert runs["dense"].info.run_id == dense
    assert runs["demo"].info.status == "FINISHED"


def test_a_stage_at_work_shows_its_pace_until_it_is_done(home, plan):
    store, rates = data.FakeStore(), {"documents_per_s": 2.5, "seconds_left": 40.0}
    data.fill(store, plan, cells=1)
    key = plan["cells"][0]["stages"]["evaluate"]["cloze"]
    late = store.results.pop(key), store.manifests.pop(key)
    other = plan["cells"][1]["stages"]["quantize"]
    running = {key: Headway(started=1.8e9, rates=rates), other: Headway(started=1.9e9)}
    sync.sync(plan, store, home=home, running=running)
    runs = runs_of(home)
    assert runs["dense"].data.metrics["seconds_left"] == 40.0
    assert runs["dense"].data.metrics["documents_per_s"] == 2.5
    assert runs["dense"].info.status == "RUNNING"
    begun = set(runs) - {"demo", "dense"}
    assert len(begun) == 1, "a cell of which nothing is done yet is shown once work on it begins"
    assert runs[begun.pop()].info.start_time == 1.9e12
    store.results[key], store.manifests[key] = late
    sync.sync(plan, store, home=home)
    runs = runs_of(home)
    assert runs["dense"].data.metrics["seconds_left"] == 0.0
    assert runs["dense"].info.status == "FINISHED"
    before = dump(home)
    sync.sync(plan, store, home=home)
    assert dump(home) == before


def test_a_cell_that_is_done_or_fails_anew_says_nothing_of_before(home, plan, store, blank):
    """A tag that holds no more is removed: why, on which node, with which version, tags of ours."""
    stages = plan["cells"][0]["stages"]
    late = {
        key: (store.results.pop(key), store.manifests.pop(key))
        for key in stages["evaluate"].values()
    }
    sync.sync(plan, store, home=home)
    before = runs_of(home)["dense"].data.tags
    assert before["isorate.reason"].startswith("not done yet")
    client_of(home).set_tag(runs_of(home)["dense"].info.run_id, "team", "theirs")
    for key, (result, manifest) in late.items():
        store.results[key], store.manifests[key] = result, manifest
    sync.sync(plan, store, home=home)
    tags = runs_of(home)["dense"].data.tags
    assert tags["isorate.status"] == "done"
    assert "isorate.reason" not in tags
    assert tags["team"] == "theirs"
    other = home / "other"
    other.mkdir()
    (other / "mlflow.db").write_bytes(blank.read_bytes())
    sync.sync(plan, store, home=other)  # what a first sync of the same writes
    ours = ("isorate.", "stage.", "version.", "slurm.")
    written = {k: v for k, v in runs_of(other)["dense"].data.tags.items() if k.startswith(ours)}
    made = experiments.CREATED
    assert {k: v for k, v in tags.items() if k.startswith(ours) and k != made} == {
        k: v for k, v in written.items() if k != made
    }
    assert counts(sync.sync(plan, store, home=home)) == (0, 0, 4, 0)


def test_retention_arrives_when_the_dense_cell_does(home, plan, store):
    key = plan["cells"][0]["stages"]["evaluate"]["cloze"]
    late = store.results.pop(key)
    sync.sync(plan, store, home=home)
    assert "Sr1" not in runs_of(home)["3bit"].data.metrics
    assert runs_of(home)["dense"].info.status == "RUNNING"
    store.results[key] = late
    sync.sync(plan, store, home=home)
    assert "Sr1" in runs_of(home)["3bit"].data.metrics
    assert runs_of(home)["dense"].info.status == "FINISHED"


def test_a_failed_cell_says_why_and_shows_no_scores(home, plan, store):
    """Even when the scores were logged before the measurement failed."""
    key = plan["cells"][2]["stages"]["measure"]
    measured = store.results.pop(key)
    sync.sync(plan, store, home=home)
    assert "acc/cloze" in runs_of(home)["25% + 4bit"].data.metrics
    store.failures[key] = {"message": "containment 0.98 under mask keep"}
    assert counts(sync.sync(plan, store, home=home))[3] == 1
    failed = runs_of(home)["25% + 4bit"]
    assert failed.info.status == "FAILED"
    assert failed.data.tags["isorate.reason"] == "measure: containment 0.98 under mask keep"
    assert not {"acc/cloze", "Sr", "Sr1", "SrCr_j"} & set(failed.data.metrics)
    assert runs_of(home)["demo"].info.status == "FAILED"
    assert counts(sync.sync(plan, store, home=home)) == (0, 0, 4, 0)
    store.results[key] = measured
    sync.sync(plan, store, home=home)
    assert runs_of(home)["25% + 4bit"].info.status == "FINISHED"


def test_results_that_left_the_store_stay_in_mlflow(home, plan, store):
    sync.sync(plan, store, home=home)
    before = runs_of(home)["3bit"].to_dictionary()
    for key in plan["cells"][1]["stages"]["evaluate"].values():
        del store.results[key]
    sync.sync(plan, store, home=home)
    assert runs_of(home)["3bit"].to_dictionary() == before


def test_runs_of_cells_that_others_stand_in_for_go(home, plan, store):
    sync.sync(plan, store, home=home)
    kept = plan["cells"][:2]
    grown = plan | {"cells": kept, "superseded": [plan["cells"][2]["key"], "never synced"]}
    assert sync.sync(grown, store, home=home).removed == 1
    assert set(runs_of(home)) == {"demo", *(cell["label"] for cell in kept)}
    assert sync.sync(grown, store, home=home).removed == 0


def test_duplicates_go_and_the_oldest_stays(home, plan, store):
    sync.sync(plan, store, home=home)
    client = client_of(home)
    original = runs_of(home)["3bit"]
    key = original.data.tags[CELL]
    for _ in range(2):
        client.create_run(
            original.info.experiment_id, tags={CELL: key, "isorate.created": str(time.time_ns())}
        )
    assert counts(sync.sync(plan, store, home=home)) == (0, 0, 4, 2)
    assert runs_of(home)["3bit"].info.run_id == original.info.run_id
    assert len(runs_of(home)) == 4


def test_collectors_at_the_same_time_end_with_one_run_per_cell(home, plan, store):
    summaries = []

    def collector():
        summaries.append(sync.sync(plan, store, home=home))

    threads = [threading.Thread(target=collector) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [s.problem for s in summaries] == [""] * 3
    sync.sync(plan, store, home=home)
    client = client_of(home)
    experiment = client.get_experiment_by_name("demo").experiment_id
    found = client.search_runs([experiment])
    assert len(found) == 4
    assert all("TCr" in run.data.metrics for run in found if CELL in run.data.tags)
    assert len({r.data.tags["mlflow.parentRunId"] for r in found if CELL in r.data.tags}) == 1
    assert counts(sync.sync(plan, store, home=home)) == (0, 0, 4, 0)


@pytest.mark.parametrize("name", ["3bit", "demo"])
def test_a_run_that_vanishes_under_our_hands_is_made_again(home, plan, store, monkeypatch, name):
    """As when another collector takes ours for the duplicate, a cell's or the sweep's."""
    sync.sync(plan, store, home=home)
    client = client_of(home)
    victim = runs_of(home)[name].info.run_id
    for task in store.results.values():
        if "metrics" in task:
            task["metrics"][task["primary"]]["value"] = 0.125
    reconciled = reconcile.Projection._reconciled

    def deleting(self, tracker):
        found = reconciled(self, tracker)
        if client.get_run(victim).info.lifecycle_stage == "active":
            client.delete_run(victim)
        return found

    monkeypatch.setattr(reconcile.Projection, "_reconciled", deleting)
    report = home / "report"  # so that the sweep's run has something to write
    report.mkdir(parents=True)
    (report / "index.html").write_text("new")
    assert sync.sync(plan, store, home=home, report=report).complete
    assert runs_of(home)[name].info.run_id != victim
    assert runs_of(home)["3bit"].data.metrics["acc/cloze"] == 0.125


def test_a_parameter_that_changed_makes_the_run_anew(home, plan, store):
    sync.sync(plan, store, home=home)
    plan["cells"][1]["config"]["quantize"]["group_size"] = 32
    summary = sync.sync(plan, store, home=home)
    assert counts(summary) == (1, 1, 2, 1)  # the recorded plan has changed with it
    assert runs_of(home)["3bit"].data.params["quant.group_size"] == "32"


def test_a_changed_label_renames_the_run(home, plan, store):
    sync.sync(plan, store, home=home)
    before = runs_of(home)["3bit"].info.run_id
    plan["cells"][1]["label"] = "three bits"
    sync.sync(plan, store, home=home)
    assert runs_of(home)["three bits"].info.run_id == before


def test_config_results_plan_and_report_are_artifacts(home, plan, store, tmp_path):
    report = tmp_path / "report"
    (report / "figures").mkdir(parents=True)
    (report / "index.html").write_text("one")
    (report / "figures" / "a.svg").write_text("<svg/>")
    sync.sync(plan, store, home=home, report=report)
    root = home / "mlartifacts" / "demo"
    found = {p.relative_to(root).as_posix().split("/", 2)[2] for p in root.rglob("*.*")}
    assert {"config.yaml", "cell.json", "stages.json", "plan.json"} <= found
    assert {"report/index.html", "report/figures/a.svg"} <= found
    assert counts(sync.sync(plan, store, home=home, report=report)) == (0, 0, 4, 0)
    (report / "index.html").write_text("two")
    assert counts(sync.sync(plan, store, home=home, report=report)) == (0, 1, 3, 0)
    (page,) = root.rglob("index.html")
    assert page.read_text() == "two"


def test_an_experiment_in_the_bin_comes_back(home, plan, store):
    sync.sync(plan, store, home=home)
    client = client_of(home)
    client.delete_experiment(client.get_experiment_by_name("demo").experiment_id)
    assert sync.sync(plan, store, home=home).complete
    assert len(runs_of(home)) == 4


def test_the_time_limit_leaves_the_rest_for_later(home, plan, store):
    cut = sync.sync(plan, store, home=home, limit_s=0)
    assert not cut.complete
    assert sync.sync(plan, store, home=home).complete
    assert len(runs_of(home)) == 4


def test_secrets_reach_neither_tags_nor_artifacts(home, plan, store, monkeypatch):
    canary = "canary-0815-token"
    monkeypatch.setenv("HF_TOKEN", canary)
    plan["overrides"] = [f"tracking.uri=http://ann:{canary[::-1]}@host"]
    plan["cells"][0]["config"]["model"]["id"] = f"https://h/m?token={canary}"
    key = plan["cells"][1]["stages"]["measure"]
    del store.results[key]
    store.failures[key] = {"message": f"cannot read {canary}", "traceback": canary}
    sync.sync(plan, store, home=home)
    held = b"".join(p.read_bytes() for p in home.rglob("*") if p.is_file())
    assert canary.encode() not in held
    assert canary[::-1].encode() not in held
    assert b"cannot read ***" in held


def closed_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_an_unreachable_server_costs_seconds_and_a_warning(home, plan, store, caplog):
    uri = f"http://ann:canary-pass@127.0.0.1:{closed_port()}"
    started = time.monotonic()
    with caplog.at_level(logging.WARNING):
        summary = sync.sync(plan, store, home=home, uri=uri)
    assert time.monotonic() - started < 10
    assert not summary.complete
    assert counts(summary) == (0, 0, 0, 0)
    assert "nothing answers at http://127.0.0.1" in caplog.text
    assert "isorate sync" in caplog.text
    assert "canary-pass" not in caplog.text + summary.problem + summary.uri


def test_a_server_that_never_answers_costs_seconds_and_a_warning(home, plan, store, monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        port = silent.getsockname()[1]
        summary = sync.sync(plan, store, home=home, uri=f"http://127.0.0.1:{port}")
    assert time.monotonic() - started < 10
    assert "timed out" in summary.problem


def test_a_database_server_that_is_down_costs_seconds_and_a_warning(home, plan, store):
    uri = f"postgresql://ann:canary-pass@127.0.0.1:{closed_port()}/mlflow"
    summary = sync.sync(plan, store, home=home, uri=uri)
    assert "nothing answers at 127.0.0.1" in summary.problem
    assert "canary-pass" not in summary.problem + summary.uri


class Answering500(http.server.BaseHTTPRequestHandler):
    """A server in trouble."""

    def do_GET(self):
        self.send_error(500)

    do_POST = do_GET

    def log_message(self, *args):
        """Keep quiet."""


def test_a_server_in_trouble_costs_seconds_and_a_warning(home, plan, store, caplog):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering500)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        uri = f"http://ann:canary-pass@127.0.0.1:{server.server_port}"
        started = time.monotonic()
        summary = sync.sync(plan, store, home=home, uri=uri)
        assert time.monotonic() - started < 10
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert "500" in summary.problem
    assert "canary-pass" not in caplog.text + summary.problem


def test_a_locked_database_costs_seconds_and_a_warning(home, plan, store, monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_S", 0.2)
    with sqlite3.connect(home / "mlflow.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        summary = sync.sync(plan, store, home=home)
        other.execute("ROLLBACK")
    assert "locked" in summary.problem
    assert sync.sync(plan, store, home=home).complete


@pytest.mark.parametrize("uri", ["nonsense://x", "postgresql+nodriver:///x"])
def test_a_uri_that_means_nothing_is_a_warning(home, plan, store, uri):
    assert sync.sync(plan, store, home=home, uri=uri).problem


def test_the_database_appears_whole_however_many_make_it(tmp_path, blank):
    """Forked, as MLflow is imported already and its migration is not for threads."""
    home, fork = tmp_path / "fresh", multiprocessing.get_context("fork")
    makers = [fork.Process(target=connection._initialise, args=[home]) for _ in range(2)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert [maker.exitcode for maker in makers] == [0, 0]
    with sqlite3.connect(home / "mlflow.db") as database:
        assert database.execute("select count(*) from alembic_version").fetchone() == (1,)
    assert not list((home / "store" / "tmp").iterdir())


def test_the_users_own_settings_stay(home, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    client_of(home)
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "5"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "10"
    assert os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] == "true"


def test_the_uri_is_the_configured_one_then_the_environments_then_the_homes(home, monkeypatch):
    assert sync.tracking_uri(None, home) == f"sqlite:///{home}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there")
    assert sync.tracking_uri(None, home) == "http://there"
    assert sync.tracking_uri("http://here", home) == "http://here"
