"""What a run should show, before any MLflow."""

from __future__ import annotations

import json
import math

import pytest

from sweeper.results import outcomes as cell_outcomes
from sweeper.results.mlflow import best_cells, names, parameters, run
from sweeper.results.mlflow.retention_metrics import retained
from tests import tracking_data as data


def outcomes_of(plan, cells=None):
    store = data.FakeStore()
    data.fill(store, plan, cells)
    return cell_outcomes.collect(plan, store)


def wanted_of(plan, label, cells=None):
    outcomes = outcomes_of(plan, cells)
    outcome = next(o for o in outcomes if o.cell["label"] == label)
    return run.wanted(outcome, label, retained(outcomes)[outcome.key])


def test_metrics_are_in_the_units_of_the_command_line():
    metrics = wanted_of(data.record(), "25% + 4bit").metrics
    assert metrics["acc/cloze"] == pytest.approx(0.8 - 0.4 * 0.8125)
    assert metrics["stderr/acc/cloze"] == metrics["acc/cloze"] / 25
    assert metrics["TCr"] == 81.25
    assert metrics["seconds"] > 0
    assert metrics["mask_kept"] == 100
    assert metrics["size_mb"] == pytest.approx(0.04)
    assert "mask_kept" not in wanted_of(data.record(), "3bit").metrics


def test_no_number_is_there_twice():
    """Of a row of many digits, no two columns are the same number in the same or other units."""
    metrics = wanted_of(data.record(), "25% + 4bit").metrics
    derived = ("stderr/", "retention/", "Sr", "acc/")  # the made-up tasks have one score
    plain = {k: v for k, v in metrics.items() if not k.startswith(derived)}
    digits = [f"{abs(v):.6e}".split("e")[0] for v in plain.values() if v]
    assert len(digits) == len(set(digits)), plain
    assert not {"rate/nominal", "TCr_achieved", "size", "Sr2"} & set(metrics)


def test_maps_by_layer_become_no_parameters():
    tree = {"min": 1.0, "layers": {"model.layers.0.q_proj": 1.0}, "deep": {"er": 2}}
    assert dict(parameters.leaves(tree)) == {"min": 1.0, "deep/er": 2}


def test_retention_and_srcr_are_those_of_the_analysis():
    plan = data.record()
    joint = wanted_of(plan, "25% + 4bit").metrics
    assert joint["retention/cloze"] == pytest.approx(joint["acc/cloze"] / 0.8)
    assert joint["retention/perplexity"] == pytest.approx(30 / (30 * 1.8125))
    assert joint["Sr"] == pytest.approx(joint["retention/cloze"])
    assert joint["SrCr_j"] == pytest.approx(0.5 * 0.5 * joint["Sr"])
    assert "SrCr_q" not in joint
    assert "SrCr_p" in wanted_of(plan, "25%").metrics
    assert "SrCr_q" in wanted_of(plan, "3bit").metrics
    dense = wanted_of(plan, "dense").metrics
    assert (dense["Sr1"], dense["stderr/Sr1"]) == (1, 0)


def test_a_group_of_tasks_counts_once():
    plan = data.record()
    for cell in plan["cells"]:
        cell["config"]["groups"] = {"both": ["capitals", "cloze"]}
    metrics = wanted_of(plan, "25% + 4bit").metrics
    parts = [metrics["acc/capitals"], metrics["acc/cloze"]]
    assert metrics["acc/both"] == pytest.approx(sum(parts) / 2)
    assert metrics["stderr/acc/both"] > 0
    assert metrics["Sr"] == pytest.approx(metrics["retention/both"])
    assert "retention/cloze" not in metrics


def test_without_the_dense_cell_there_is_no_retention():
    plan = data.record(data.GRID[1:])
    metrics = wanted_of(plan, "25%").metrics
    assert "acc/cloze" in metrics
    assert not any(name.startswith(("Sr", "retention")) for name in metrics)


def test_params_are_numbers_where_they_are_numbers_and_only_what_means_something():
    plan = data.record()
    params = wanted_of(plan, "25% + 4bit").params
    assert (float(params["sparsity"]), int(params["bits"])) == (25, 4)
    assert (params["mask"], params["pattern"]) == ("keep", "unstructured")
    assert int(params["quant.group_size"]) == 64
    assert params["quant.symmetric"] == "true"
    assert "calibration.path" not in params
    dense = wanted_of(plan, "dense").params
    assert not any(name.startswith(("prune.", "quant.", "calibration", "seed")) for name in dense)
    assert dense["pattern"] == "none"


def test_a_third_is_shown_in_percent_and_kept_as_it_is():
    wanted = wanted_of(data.record(({}, {"sparsity": 1 / 3})), "33.3333%")
    assert wanted.params["sparsity"] == "33.3333"
    assert json.loads(wanted.artifacts["cell.json"])["sparsity"] == 1 / 3


def test_provenance_is_in_tags_and_artifacts():
    plan = data.record()
    wanted = wanted_of(plan, "25% + 4bit")
    assert "torch 2.13.0" in wanted.tags["isorate.versions"]
    assert wanted.tags["isorate.kind"] == "cell"
    assert wanted.tags["isorate.host"] == "node1"
    stages = next(c["stages"] for c in plan["cells"] if c["label"] == "25% + 4bit")
    assert "group_size: 64" in wanted.artifacts["config.yaml"]
    written = json.loads(wanted.artifacts["stages.json"])
    assert written["measure"]["result"]["layers"] == 14
    assert written["quantize"]["key"] == stages["quantize"]


def test_earlier_looks_go_with_the_cell():
    plan = data.record()
    cell = next(c for c in plan["cells"] if c["label"] == "25% + 4bit")
    cell["looks"] = {"cloze": [20, 40]}
    kept = json.loads(wanted_of(plan, "25% + 4bit").artifacts["cell.json"])
    assert kept["looks"] == cell["looks"]


def test_an_absent_value_is_no_metric():
    plan = data.record(({},))
    store = data.FakeStore()
    data.fill(store, plan)
    result = store.results[plan["cells"][0]["stages"]["evaluate"]["perplexity"]]
    result["metrics"]["word_perplexity"] |= {"value": None, "stderr": None}
    result["collapsed"] = True
    (outcome,) = cell_outcomes.collect(plan, store)
    wanted = run.wanted(outcome, "dense", {"Sr1": math.nan})
    assert "word_perplexity/perplexity" not in wanted.metrics
    assert "Sr1" not in wanted.metrics
    assert wanted.tags["isorate.collapsed"] == "perplexity"


def test_names_are_labels_and_no_two_are_alike():
    plan = data.record(({}, {"bits": 4}, {"bits": 4, "seed": 1}))
    assert set(names.names(outcomes_of(plan)).values()) == {
        "dense",
        "4bit (seed 0)",
        "4bit (seed 1)",
    }
    plan = data.record(({}, {"model": "other"}))
    assert set(names.names(outcomes_of(plan)).values()) == {"tiny: dense", "other: dense"}


@pytest.mark.parametrize("hostile", ["../../x", "a b/c", "x\ny", "é$(id)", "..", "", "q" * 400])
def test_any_task_name_becomes_a_name_that_mlflow_takes(hostile):
    from mlflow.utils.validation import _validate_metric_name

    name = run.path("acc", hostile)
    _validate_metric_name(name)
    assert len(name) < 250


def test_the_sweep_counts_its_cells_and_names_parents_by_key(tmp_path):
    plan = data.record()
    outcomes = outcomes_of(plan, cells=3)
    page = tmp_path / "index.html"
    page.write_text("hello")
    wanted = run.sweep_run(plan, outcomes, {"index.html": page})
    assert wanted.metrics == {"cells/done": 3, "cells/failed": 0, "cells/missing": 5}
    assert wanted.tags["isorate.kind"] == "sweep"
    assert wanted.status == "RUNNING"
    assert wanted.artifacts["report/index.html"] == page
    recorded = json.loads(wanted.artifacts["plan.json"])
    parents = [p for spec in recorded["stages"].values() for p in spec["parents"].values()]
    assert parents
    assert all(key in recorded["stages"] for key in parents)


def test_the_parent_names_the_best_cells_at_equal_rate_and_at_equal_size():
    plan = data.record()
    outcomes = outcomes_of(plan)
    kept = retained(outcomes)
    metrics = {o.key: run.wanted(o, "x", kept[o.key]).metrics for o in outcomes}
    found = best_cells.best(outcomes, metrics)
    assert found
    for one in found:
        equal = [
            (metrics[o.key]["Sr"], o.cell["label"])
            for o in outcomes
            if one.at in (f"{metrics[o.key]['TCr']:g} % TCr", f"{metrics[o.key]['size_mb']:.4g} MB")
        ]
        assert len(equal) == one.of > 1
        assert (one.sr, one.label) in equal
        assert one.sr == max(equal)[0]
    tags = run.sweep_run(plan, outcomes, {}, best=found).tags
    assert {k: v for k, v in tags.items() if k.startswith("isorate.best.")} == {
        f"isorate.best.{one.name}": one.short for one in found
    }
    assert all(one.label in tags[run.NOTE] for one in found)


def test_a_cell_that_is_not_what_its_label_says_is_never_the_best():
    plan = data.record()
    store = data.FakeStore()
    data.fill(store, plan)
    outcomes = cell_outcomes.collect(plan, store)
    kept = retained(outcomes)
    metrics = {o.key: run.wanted(o, "x", kept[o.key]).metrics for o in outcomes}
    first = best_cells.best(outcomes, metrics)[0]
    (winner,) = [o for o in outcomes if o.cell["label"] == first.label]
    store.results[winner.cell["stages"]["measure"]]["unproved"] = "the mask was ignored"
    outcomes = cell_outcomes.collect(plan, store)
    labels = [one.label for one in best_cells.best(outcomes, metrics)]
    assert first.label not in labels


def test_calibration_and_tasks_are_inputs():
    wanted = wanted_of(data.record(), "25% + 4bit")
    contexts = [one.context for one in wanted.inputs]
    assert contexts == ["calibration", *["evaluation"] * 3]
    assert {one.name for one in wanted.inputs[1:]} == set(data.TASKS)
    assert json.loads(wanted.inputs[1].profile) == {"documents": 240}
    other = data.record()
    for cell in other["cells"]:
        if cell["config"].get("calibration"):
            cell["config"]["calibration"]["samples"] = 7
    again = wanted_of(other, "25% + 4bit")
    assert again.inputs[0].digest != wanted.inputs[0].digest
    assert again.inputs[1:] == wanted.inputs[1:]
    assert [one.context for one in wanted_of(data.record(), "dense").inputs] == ["evaluation"] * 3
