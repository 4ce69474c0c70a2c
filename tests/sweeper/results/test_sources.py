"""Where results are read from: the store, MLflow (nothing but the server), the paper."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.reproduction.reproduce import FIGURES, TABLES
from sweeper.errors import BadInput, IsorateError
from sweeper.results import outcomes, tables
from sweeper.results.mlflow import connection, reader, sync
from tests import tracking_data as data

GRID = (data.GRID[0], *data.GRID[3:6])


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A sweep in MLflow, with one cell that failed and one that lacks a task."""
    home = tmp_path_factory.mktemp("home")
    plan, store = data.record(GRID), data.FakeStore()
    for cell in plan["cells"]:
        cell["config"]["tasks"] |= {"dtype": "bfloat16", "backend": "hf", "batch_size": 16}
    data.fill(store, plan)
    # A part of an evaluation: it scores nothing.
    whole = plan["stages"][plan["cells"][3]["stages"]["evaluate"]["capitals"]]
    part = {**whole, "key": "part", "params": {**whole["params"], "part": [0, 2]}}
    whole["parents"] = {**whole["parents"], "part 0": part}
    store.results["part"] = {"task": "capitals"}
    late = plan["cells"][2]["stages"]["evaluate"]["cloze"]
    del store.results[late], store.manifests[late]
    fallen = plan["cells"][1]["stages"]["quantize"]
    del store.results[fallen], store.manifests[fallen]
    store.failures[fallen] = {"message": "the Hessian cannot be inverted"}
    aside = tmp_path_factory.mktemp("documents")
    store.path = lambda spec: aside / spec["key"]
    for cell in plan["cells"]:
        for task, key in cell["stages"]["evaluate"].items():
            if key in store.manifests:
                store.manifests[key] |= {"files": {outcomes.DOCUMENTS: {}}}
                (aside / key).mkdir(exist_ok=True)
                answered(task, len(key)).to_parquet(aside / key / outcomes.DOCUMENTS)
    uri = connection.default_uri(home)
    assert sync.sync(plan, store, home=home, uri=uri).complete
    return home, uri, plan, store


def answered(task: str, seed: int) -> pd.DataFrame:
    """Scores of four documents."""
    right = np.random.default_rng(seed).integers(0, 2, 4).astype(float)
    return pd.DataFrame(
        {
            "doc_id": range(4),
            "doc_hash": list("abcd"),
            "target_hash": "t",
            "acc": right,
            "task": task,
        }
    )


def test_results_come_back_from_mlflow_as_they_are_in_the_store(logged) -> None:
    home, uri, plan, store = logged
    kept = tables.results(outcomes.collect(plan, store))
    read = tables.results(reader.outcomes("demo", home=home, uri=uri))
    assert read.cells.to_csv() == kept.cells.to_csv()
    assert read.scores.to_csv() == kept.scores.to_csv()
    in_store, in_mlflow = (
        {(s.key, s.kind, s.task, s.part) for outcome in found for s in outcome.stages}
        for found in (outcomes.collect(plan, store), reader.outcomes("demo", home=home, uri=uri))
    )
    assert in_mlflow == in_store
    assert set(read.cells["status"]) == {"done", "failed", "missing"}
    assert set(read.documents) == set(kept.documents)
    for cell, task in kept.documents:
        assert read.documents.table(cell, task).equals(kept.documents.table(cell, task))


def test_nothing_but_the_server_is_needed(logged, tmp_path) -> None:
    """The database and the artifacts are enough, read from another home."""
    uri = logged[1]
    found = reader.outcomes("demo", home=tmp_path / "elsewhere", uri=uri)
    assert len(found) == len(GRID)
    copies = [p for p in (tmp_path / "elsewhere").rglob("*") if p.is_file()]
    assert {p.suffix for p in copies} == {".parquet"}
    first = {p: p.stat().st_mtime_ns for p in copies}
    reader.outcomes("demo", home=tmp_path / "elsewhere", uri=uri)
    assert {p: p.stat().st_mtime_ns for p in copies} == first  # fetched once


def test_of_two_runs_of_a_cell_the_older_counts(logged) -> None:
    home, uri, plan, _ = logged
    client = connection.connect(uri, home)
    experiment = client.get_experiment_by_name("demo").experiment_id
    key = plan["cells"][0]["key"]
    twin = client.create_run(experiment, tags={"isorate.cell": key, "isorate.created": "9" * 19})
    try:
        assert len(reader.outcomes("demo", home=home, uri=uri)) == len(GRID)
    finally:
        client.delete_run(twin.info.run_id)


def test_an_experiment_that_is_not_there_names_the_others(logged) -> None:
    home, uri, _, _ = logged
    with pytest.raises(BadInput, match="demo"):
        reader.outcomes("demos", home=home, uri=uri)


def test_a_server_that_does_not_answer_is_said(tmp_path) -> None:
    with pytest.raises(IsorateError, match="MLflow cannot be read: nothing answers"):
        reader.outcomes("demo", home=tmp_path, uri="http://127.0.0.1:9")


def test_a_run_without_its_file_says_what_to_do(logged, tmp_path) -> None:
    home, _, _, _ = logged
    copy = tmp_path / "home"
    shutil.copytree(home, copy)
    for path in (copy / "mlartifacts").rglob("stages.json"):
        path.unlink()
    with pytest.raises(IsorateError, match=r"no readable stages.json.*isorate sync"):
        reader.outcomes("demo", home=copy, uri=connection.default_uri(copy))


# --- the verbs ---


def isorate(home, *words):
    command = [sys.executable, "-m", "sweeper", *words, f"home={home}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_report_from_mlflow(logged) -> None:
    home = logged[0]
    stores = home / "sweeps/demo/report"
    stores.mkdir(parents=True)
    (stores / "report.html").write_text("the store's")
    done = isorate(home, "report", "source=mlflow", "name=demo", "output=json")
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)["report"]
    assert "report.html" in files
    assert "capitals" in (home / "sweeps/demo/report-mlflow/data/scores.csv").read_text()
    assert [path.read_text() for path in stores.iterdir()] == ["the store's"]


def test_one_table_of_the_paper(tmp_path) -> None:
    done = isorate(tmp_path, "reproduce", "source=published", "only=table7")
    assert done.returncode == 0, done.stderr
    assert (
        "| LLaMA-3.1-8B | 50% + 8bit | 20.5 | 0.4 | 40.4 | 0.6 | 3.1 | 0.2 | 21.3 |" in done.stdout
    )
    assert (tmp_path / "sweeps/published/reproduction/tables/table7.tex").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["source=paper"], "valid: store, mlflow, bundle, published"),
        (["source=published", "only=table8"], "valid: claims, table1"),
        (["source=published", "against=published"], "the source is the published numbers already"),
        (["source=store", "sweeps=[one]"], "no such sweep"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, words, told) -> None:
    done = isorate(tmp_path, "reproduce", *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


# --- make ---


def make(*words):
    """The recipes alone, as a make of its own prints them (not one below `make test`)."""
    root = Path(__file__).parents[3]
    command = ["make", "--dry-run", "--no-print-directory", "PYTHON=true", *words]
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_make_knows_every_table_and_figure() -> None:
    for name in (*TABLES, *FIGURES):
        assert f"isorate reproduce source=published only={name}\n" in make(name).stdout
    both = make("reproduce", "SOURCE=both", "MODEL=llama-3.1-8b", "LAUNCHER=slurm").stdout
    first, last = both.index("isorate run"), both.index("isorate reproduce")
    assert first < last
    assert "hydra/launcher=slurm" in both[first:last]
    assert "model=llama-3.1-8b" in both[first:last]
    assert "source=store name=laborde2025 against=published" in both[last:]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_make_refuses_another_source_before_anything_runs() -> None:
    refused = make("reproduce", "SOURCE=paper")
    assert refused.returncode != 0
    assert "valid: published, measured, both" in refused.stderr
    assert refused.stdout == ""
