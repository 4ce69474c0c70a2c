"""Scores from lm-eval's own output become cells; what does not fit is refused by field."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis.data.panel import panels
from sweeper.errors import BadInput
from sweeper.planning import builder
from sweeper.planning.sweep import Sweep, cell_json
from sweeper.results import outcomes
from sweeper.results import tables as rows
from sweeper.results.importers import lm_eval
from sweeper.results.importers import scores as imported
from tests import tiny
from tests.composing import composed

TASKS = ("demo_agreement", "demo_capitals")


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Three cells on two of the demo's tasks."""
    model = tiny.make(tmp_path_factory.mktemp("model") / "tiny")
    words = ["model=custom", f"model.id={model}", "model.group_size=32", "quant.bits=16,4"]
    words += ["prune.sparsity=0,25", f"tasks.names=[{','.join(TASKS)}]"]
    with composed(words) as (config, loader):
        return builder.plan(config, loader, words)


def cell(plan, label):
    return next(one for one in plan.cells if one.label == label)


def written(folder: Path, shift: float = 0.0, *, samples: bool = True, **changes) -> Path:
    """A directory as lm_eval 0.4 writes it for a multiple-choice and a two-filter task."""
    run = folder / "tiny"
    run.mkdir(parents=True)
    right = {"demo_agreement": [1, 1, 0, 1], "demo_capitals": [1, 0, 0, 1]}
    content = {
        "results": {
            "demo_agreement": {
                "alias": "agreement",
                "acc,none": 0.75 - shift,
                "acc_stderr,none": 0.25,
                "acc_norm,none": 0.5,
                "acc_norm_stderr,none": "N/A",
            },
            "demo_capitals": {
                "alias": "capitals",
                "exact_match,strict": 0.5,
                "exact_match_stderr,strict": 0.29,
                "exact_match,flexible": 0.75,
                "exact_match_stderr,flexible": 0.25,
            },
            "other": {"acc,none": 0.1, "acc_stderr,none": 0.1},
            "group": {"acc,none": 0.6},
        },
        "configs": {
            "demo_agreement": {"metric_list": [{"metric": "acc"}], "metadata": {"version": 1.0}},
            "demo_capitals": {"metric_list": [{"metric": "exact_match"}]},
            "other": {"metric_list": [{"metric": "acc"}]},
        },
        "versions": {"demo_agreement": 1.0, "demo_capitals": 2.0, "other": 0.0},
        "n-shot": {"demo_agreement": 0, "demo_capitals": 3, "other": 0},
        "n-samples": {t: {"original": 4, "effective": 4} for t in (*TASKS, "other")},
        "higher_is_better": {
            "demo_agreement": {"acc": True, "acc_norm": True},
            "demo_capitals": {"exact_match": True},
            "other": {"acc": True},
        },
        "config": {"model": "hf", "model_dtype": "torch.bfloat16", "limit": None},
        "chat_template": None,
    }
    for path, value in changes.items():
        *way, last = path.split("__")
        place = content
        for step in way:
            place = place[step]
        place[last] = value
    stamp = "_2026-01-01T00-00-00.000000"
    (run / f"results{stamp}.json").write_text(json.dumps(content))
    for task in TASKS if samples else ():
        rows = [
            {
                "doc_id": i,
                "doc_hash": f"d{i}",
                "prompt_hash": "p",
                "target_hash": f"t{i}",
                "filter": name,
                "metrics": [metric],
                metric: value,
            }
            for metric, names in (
                ("acc", ["none"])
                if task == "demo_agreement"
                else ("exact_match", ["strict", "flexible"]),
            )
            for name in names
            for i, value in enumerate(right[task])
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (run / f"samples_{task}{stamp}.jsonl").write_text(lines)
    return folder


def test_scores_become_a_cell(plan, tmp_path) -> None:
    sweep = Sweep(tmp_path, "paid")
    output = lm_eval.read(written(tmp_path / "out"))
    record = imported.add(sweep, cell(plan, "25% + 4bit"), output)
    assert sorted(record["scores"]) == ["demo_agreement", "demo_capitals"]
    assert record["ignored"] == ["other"]
    results = rows.results(imported.outcomes(sweep))
    row = results.cells.iloc[0]
    assert (row["label"], row["status"], row["bits"]) == ("25% + 4bit", "done", 4)
    scores = results.scores.set_index(["task", "metric"])
    assert scores.loc[("demo_agreement", "acc"), "value"] == 0.75
    assert scores.loc[("demo_agreement", "acc"), "primary"]
    assert np.isnan(scores.loc[("demo_agreement", "acc_norm"), "stderr"])
    assert scores.loc[("demo_capitals", "exact_match:strict"), "primary"]
    assert scores.loc[("demo_capitals", "exact_match:flexible"), "value"] == 0.75


def test_documents_come_with_them(plan, tmp_path) -> None:
    sweep = Sweep(tmp_path, "paid")
    imported.add(sweep, cell(plan, "dense"), lm_eval.read(written(tmp_path / "out")))
    results = rows.results(imported.outcomes(sweep))
    key = results.cells["cell"].iloc[0]
    found = results.documents.scored(key, "demo_agreement", "acc")
    assert found is not None
    assert list(found.numerator) == [1, 1, 0, 1]
    assert results.documents.scored(key, "demo_capitals", "exact_match:strict") is not None


def test_without_samples_only_the_scores(plan, tmp_path) -> None:
    sweep = Sweep(tmp_path, "paid")
    output = lm_eval.read(written(tmp_path / "out", samples=False))
    imported.add(sweep, cell(plan, "dense"), output)
    assert not rows.results(imported.outcomes(sweep)).documents


def test_a_task_that_lacks_leaves_the_cell_undone(plan, tmp_path) -> None:
    sweep, folder = Sweep(tmp_path, "paid"), written(tmp_path / "out")
    path = next(folder.rglob("results*.json"))
    content = json.loads(path.read_text())
    del content["results"]["demo_capitals"]
    path.write_text(json.dumps(content))
    imported.add(sweep, cell(plan, "dense"), lm_eval.read(folder))
    outcome = imported.outcomes(sweep)[0]
    assert (outcome.status, outcome.reason) == ("missing", "not imported: demo_capitals")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"chat_template": "{{ x }}"}, "apply_chat_template: True, here False"),
        ({"config__model": "vllm"}, "backend: 'vllm', here 'hf'"),
        ({"config__model_dtype": "torch.float16"}, "dtype: 'float16', here 'bfloat16'"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_field(plan, tmp_path, changes, field) -> None:
    output = lm_eval.read(written(tmp_path / "out", **changes))
    with pytest.raises(
        BadInput, match="scored otherwise than this sweep's configuration"
    ) as refused:
        imported.add(Sweep(tmp_path, "paid"), cell(plan, "dense"), output)
    assert field in str(refused.value)
    assert imported.records(Sweep(tmp_path, "paid")) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"versions__demo_agreement": 3.0}, "version: '3.0', here '1.0'"),
        ({"n-shot__demo_capitals": 5}, "num_fewshot: 5, here 3"),
    ],
)
def test_two_imports_must_agree(plan, tmp_path, changes, field) -> None:
    sweep = Sweep(tmp_path, "paid")
    imported.add(sweep, cell(plan, "dense"), lm_eval.read(written(tmp_path / "one")))
    other = lm_eval.read(written(tmp_path / "two", **changes))
    with pytest.raises(BadInput, match="what was imported for dense") as refused:
        imported.add(sweep, cell(plan, "4bit"), other)
    assert field in str(refused.value)


def test_the_same_cell_again_replaces_it(plan, tmp_path) -> None:
    sweep = Sweep(tmp_path, "paid")
    for name, shift in (("one", 0.0), ("two", 0.5)):
        output = lm_eval.read(written(tmp_path / name, shift))
        imported.add(sweep, cell(plan, "dense"), output)
    assert len(imported.records(sweep)) == 1
    assert imported.records(sweep)[0]["scores"]["demo_agreement"]["metrics"]["acc"]["value"] == 0.25


def test_an_imported_cell_stands_in_for_one_that_is_not_done(plan, tmp_path) -> None:
    sweep = Sweep(tmp_path, "paid")
    imported.add(sweep, cell(plan, "dense"), lm_eval.read(written(tmp_path / "out")))
    mine = imported.outcomes(sweep)
    waiting = [
        outcomes.CellOutcome(cell=cell_json(one), status="missing", reason="") for one in plan.cells
    ]
    both = outcomes.joined(waiting, mine)
    assert len(both) == len(plan.cells)
    assert [o.status for o in both].count("done") == 1
    done = [outcomes.CellOutcome(cell=mine[0].cell, status="done", reason="")]
    assert outcomes.joined(done, mine) == done


def test_what_was_imported_whole_is_not_run(plan, tmp_path) -> None:
    sweep = Sweep(tmp_path, "paid")
    assert imported.remaining(plan, sweep) is plan
    brought = cell(plan, "25% + 4bit")
    imported.add(sweep, brought, lm_eval.read(written(tmp_path / "out")))
    left = imported.remaining(plan, sweep)
    assert {one.label for one in left.cells} == {"dense", "25%", "4bit"}
    assert brought.stages["prune"].key in left.stages  # the 25% cell needs it too
    assert brought.stages["quantize"].key not in left.stages


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no results"),
        ("[1]", "it lacks results"),
        ("{", "it is no JSON of lm-eval"),
    ],
)
def test_what_lm_eval_did_not_write_is_refused(tmp_path, content, told) -> None:
    if content is not None:
        (tmp_path / "results_1.json").write_text(content)
    with pytest.raises(BadInput, match=told):
        lm_eval.read(tmp_path)


def test_no_task_in_common(plan, tmp_path) -> None:
    folder = written(tmp_path / "out")
    path = next(folder.rglob("results*.json"))
    content = json.loads(path.read_text())
    content["configs"] = {"other": content["configs"]["other"]}
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match="it has scores of other; this sweep is about demo_ag"):
        imported.add(Sweep(tmp_path, "s"), cell(plan, "dense"), lm_eval.read(folder))


def test_the_verb_records_the_plan_so_that_reports_name_what_lacks(tmp_path) -> None:
    model = tiny.make(tmp_path / "tiny")
    home = f"home={tmp_path / 'home'}"
    grid = [
        "model=custom",
        f"model.id={model}",
        "model.group_size=32",
        "quant.bits=16,4",
        f"tasks.names=[{','.join(TASKS)}]",
        "name=paid",
        home,
    ]
    path = f"path={written(tmp_path / 'out')}"
    command = [sys.executable, "-m", "sweeper"]
    done = subprocess.run(
        [*command, "import", *grid, "cell=dense", path], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "Not imported: 4bit" in done.stdout
    planned = subprocess.run(
        [*command, "plan", *grid, "output=json"], capture_output=True, text=True, timeout=120
    )
    plan = json.loads(planned.stdout)
    dense = next(one["key"] for one in plan["cells"] if one["label"] == "dense")
    assert plan["imported"] == [dense]
    # Its measure and two evaluations need no hours; the other cell's four stages do.
    assert (plan["stages"]["total"], plan["stages"]["done"]) == (7, 3)
    state = subprocess.run(
        [*command, "status", "name=paid", home, "output=json"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = {one["label"]: one for one in json.loads(state.stdout)["cells"]}
    assert (found["dense"]["status"], found["4bit"]["status"]) == ("done", "missing")
    assert found["dense"]["reason"].startswith("imported from ")
    told = subprocess.run(
        [*command, "report", "name=paid", home], capture_output=True, text=True, timeout=120
    )
    assert told.returncode == 0, told.stderr
    cells = (tmp_path / "home/sweeps/paid/report/data/cells.csv").read_text()
    assert "dense" in cells
    assert "not done yet: quantize, measure" in cells


CUT = {"original": 40, "effective": 4}
CUTS = {"config__limit": 4, "n-samples__demo_agreement": CUT, "n-samples__demo_capitals": CUT}


def test_without_hashes_all_documents_have_to_be_asked(plan, tmp_path) -> None:
    sweep, dense = Sweep(tmp_path, "paid"), cell(plan, "dense")
    some = lm_eval.read(written(tmp_path / "some", samples=False, **CUTS))
    with pytest.raises(BadInput, match=r"limit: 4, here None, and there are no hashes"):
        imported.add(sweep, dense, some)
    # a limit that leaves nothing out is none
    every = lm_eval.read(written(tmp_path / "all", samples=False, config__limit=100))
    imported.add(sweep, dense, every)
    scores = rows.results(imported.outcomes(sweep)).scores
    assert set(scores["asked"]) == {"all documents"}


def test_with_hashes_the_documents_decide(plan, tmp_path) -> None:
    """The first four of the data set and all of it have four in common, and that is said."""
    sweep = Sweep(tmp_path, "paid")
    imported.add(sweep, cell(plan, "dense"), lm_eval.read(written(tmp_path / "one")))
    some = lm_eval.read(written(tmp_path / "two", **CUTS))
    imported.add(sweep, cell(plan, "4bit"), some)
    (panel,) = panels(rows.results(imported.outcomes(sweep)))
    assert (panel.gap == "").all()
    assert set(rows.results(imported.outcomes(sweep)).scores["asked"]) == {
        "all documents",
        "the first 4 of the data set",
    }
