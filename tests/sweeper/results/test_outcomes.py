"""The plan and the store, joined: every cell is accounted for."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from sweeper.planning.sweep import merge
from sweeper.results import outcomes as cell_outcomes
from sweeper.results import tables
from tests import tracking_data as data


@pytest.fixture
def plan():
    return data.record()


@pytest.fixture
def store():
    return data.FakeStore()


def outcome_of(plan, store, label):
    return next(o for o in cell_outcomes.collect(plan, store) if o.cell["label"] == label)


def key_of(plan, label, role):
    stages = next(c["stages"] for c in plan["cells"] if c["label"] == label)
    return stages[role] if role in stages else stages["evaluate"][role]


def test_every_planned_cell_has_an_outcome_even_when_nothing_ran(plan, store):
    outcomes = cell_outcomes.collect(plan, store)
    assert [o.cell["label"] for o in outcomes] == [c["label"] for c in plan["cells"]]
    assert {o.status for o in outcomes} == {"missing"}
    assert outcomes[1].reason == (
        "not done yet: prune, measure, evaluate capitals, evaluate cloze, evaluate perplexity"
    )
    assert not any(o.begun for o in outcomes)
    assert not tables.score_rows(outcomes)


def test_an_import_stands_in_for_its_cell_and_not_for_another_look_at_it(plan, store):
    planned = cell_outcomes.collect(plan, store)
    brought = replace(planned[1], status="done", reason="imported")
    earlier = replace(brought, cell={**brought.cell, "key": "with 20 documents"})
    other = replace(brought, cell={**brought.cell, "key": "other", "label": "75%"})
    found = cell_outcomes.joined(planned, [brought, other])
    assert [o.status for o in found] == ["missing", "done"] + ["missing"] * 6 + ["done"]
    found = cell_outcomes.joined(planned, [earlier])
    assert [o.key for o in found] == [o.key for o in planned], "the sweep has grown since"


def test_a_cell_is_done_when_all_its_stages_are(plan, store):
    data.fill(store, plan)
    outcomes = cell_outcomes.collect(plan, store)
    assert {(o.status, o.reason) for o in outcomes} == {("done", "")}
    assert len(tables.score_rows(outcomes)) == len(data.GRID) * len(data.TASKS)
    del store.results[key_of(plan, "dense", "cloze")]
    assert outcome_of(plan, store, "dense").reason == "not done yet: evaluate cloze"


def test_a_stage_that_many_cells_share_is_read_once(plan, store):
    data.fill(store, plan)
    cell_outcomes.collect(plan, store)
    assert store.reads == len(plan["stages"])


def test_a_failed_parent_fails_all_its_cells_with_the_reason(plan, store):
    store.failures[key_of(plan, "25%", "prune")] = {"message": "Hessian not invertible"}
    failed = {o.cell["label"] for o in cell_outcomes.collect(plan, store) if o.status == "failed"}
    assert failed == {"25%", "25% + 4bit", "25% + 4bit (mask ignored)"}
    assert outcome_of(plan, store, "25%").reason == "prune: Hessian not invertible"


def test_the_failure_of_a_parent_outside_the_cell_counts(plan, store):
    """A conversion is nobody's own stage, only an ancestor."""
    converted = data.spec("convert", {"file_sha256": "abc"})
    dense = next(c for c in plan["cells"] if c["label"] == "dense")
    plan["stages"][dense["stages"]["measure"]]["parents"] = {"model": converted}
    store.failures[converted["key"]] = {"message": "no GGUF file"}
    assert outcome_of(plan, store, "dense").reason == "convert: no GGUF file"


def test_scores_of_a_checkpoint_that_is_not_what_it_says_are_withheld(plan, store):
    data.fill(store, plan)
    key = key_of(plan, "25% + 4bit", "measure")
    del store.results[key]
    store.failures[key] = {"message": "containment 0.98"}
    outcome = outcome_of(plan, store, "25% + 4bit")
    assert (outcome.status, outcome.reason) == ("failed", "measure: containment 0.98")
    assert outcome.scores == {}


def test_scores_of_other_tasks_stay_when_one_task_fails(plan, store):
    data.fill(store, plan)
    key = key_of(plan, "4bit", "cloze")
    del store.results[key]
    store.failures[key] = {"message": "the task has no documents"}
    outcome = outcome_of(plan, store, "4bit")
    assert outcome.status == "failed"
    assert sorted(outcome.scores) == ["capitals", "perplexity"]


def test_a_damaged_output_is_absent_and_said(plan, store):
    data.fill(store, plan)
    store.damaged.add(key_of(plan, "3bit", "capitals"))
    outcome = outcome_of(plan, store, "3bit")
    assert outcome.status == "missing"
    assert outcome.reason == "not done yet: evaluate capitals (result.json has changed)"


def test_bits_of_scales_are_measured_or_else_planned(plan, store):
    def bits(label):
        (row,) = (
            row
            for row in tables.cell_rows(cell_outcomes.collect(plan, store))
            if row["label"] == label
        )
        return row["scale_bits"]

    assert (bits("4bit"), bits("dense")) == (0.3125, None)
    measured = {"scales": 0.25, "zero_points": 0.0625 / 2}
    store.results[key_of(plan, "4bit", "measure")] = {"bits_per_weight": measured}
    assert bits("4bit") == 0.28125
    del next(c for c in plan["cells"] if c["label"] == "3bit")["scale_bits"]
    assert bits("3bit") is None, "an older plan does not say"


def test_rows_are_what_the_analysis_takes(plan, store):
    data.fill(store, plan, cells=6)
    outcomes = cell_outcomes.collect(plan, store)
    results = tables.results(outcomes)
    cells = results.cells.set_index("label")
    assert list(cells["status"].value_counts().loc[["done", "missing"]]) == [6, 2]
    joint = cells.loc["25% + 4bit"]
    assert (joint["sparsity"], joint["bits"], joint["mask"]) == (0.25, 4, "keep")
    assert (joint["achieved_sparsity"], joint["containment"], joint["bytes"]) == (0.25, 1, 40_000)
    (row,) = (row for row in tables.cell_rows(outcomes) if row["label"] == "25% + 4bit")
    assert row["achieved_tcr"] == joint["achieved_tcr"] == 0.8125
    assert joint["device"] == "cpu"
    assert list(cells.loc[["2:8", "25%"], "nm_valid"].fillna(False)) == [True, False]
    assert cells.loc["dense", "pattern"] == ""
    accuracy = results.scores.set_index(["cell", "task"]).loc[(joint["cell"], "cloze")]
    assert (accuracy["metric"], accuracy["n"], accuracy["chance"]) == ("acc", 240, 0.25)
    assert accuracy["primary"]


def test_rows_say_how_bits_and_sparsity_are_spread(plan, store):
    bits, at_once = {"profile": "allocated", "widths": [3, 8]}, {"profile": "owl"}
    said = (
        {"prune": {"profile": "owl"}},
        {"quantize": bits},
        {"prune": {"profile": "allocated"}, "quantize": bits},
        {"quantize": at_once},  # by a quantizer that prunes
        {},
    )
    for cell, sections in zip(plan["cells"], said, strict=False):
        cell["config"] = cell["config"] | sections
    found = tables.results(cell_outcomes.collect(plan, store)).cells.set_index("cell")
    first = found.loc[[cell["key"] for cell in plan["cells"][: len(said)]]]
    assert list(first["prune_profile"]) == ["owl", "", "allocated", "owl", ""]
    assert list(first["quant_profile"]) == ["", "allocated", "allocated", "", ""]


def test_no_scores_at_all_are_still_a_table(plan, store):
    results = tables.results(cell_outcomes.collect(plan, store))
    assert len(results.cells) == len(data.GRID)
    assert results.scores.empty


def test_plans_of_a_sweep_merge_and_the_newest_wins(plan):
    newer = copy.deepcopy(data.record((*data.GRID, {"bits": 2})))
    newer["created"], newer["cells"][0]["label"] = "2026-01-02T00:00:00", "dense (newer)"
    merged = merge([newer, plan])
    assert len(merged["cells"]) == len(data.GRID) + 1
    assert merged["cells"][0]["label"] == "dense (newer)"
    assert set(merged["stages"]) == set(newer["stages"]) | set(plan["stages"])


def test_plans_of_two_sweeps_do_not_merge(plan):
    with pytest.raises(ValueError, match="demo, other"):
        merge([plan, data.record(name="other")])


@pytest.mark.parametrize(
    "moment", [1_700_000_000, 1_700_000_000.0, "2023-11-14T22:13:20.000+00:00"]
)
def test_times_are_read_as_seconds_or_iso(moment):
    assert cell_outcomes.epoch(moment) == 1_700_000_000_000


def test_the_documents_of_an_evaluation_are_found_where_the_store_has_them(plan, store, tmp_path):
    data.fill(store, plan)
    key = key_of(plan, "dense", "cloze")
    store.path = lambda spec: tmp_path / spec["kind"] / spec["key"]
    assert not tables.results(cell_outcomes.collect(plan, store)).documents
    store.manifests[key] = {**store.manifests[key], "files": {"documents.parquet": {}}}
    found = tables.results(cell_outcomes.collect(plan, store)).documents
    dense = next(cell["key"] for cell in plan["cells"] if cell["label"] == "dense")
    assert found.sources == {(dense, "cloze"): tmp_path / "evaluate" / key / "documents.parquet"}


@pytest.mark.parametrize(
    ("manifest", "device"),
    [
        ({"device": "cpu", "slurm": {"gpu_type": "a10"}}, "cpu"),
        ({"device": "cuda", "device_name": "NVIDIA A10", "slurm": {"gpu_type": "x"}}, "NVIDIA A10"),
        ({"device": "cuda", "slurm": {"gpu_type": "a100"}}, "cuda a100"),
        ({"device": "cuda"}, "cuda"),
        ({}, ""),
    ],
)
def test_the_model_of_a_gpu_is_its_device_type(manifest, device):
    stage = cell_outcomes.StageOutcome(kind="evaluate", key="e", task="t", manifest=manifest)
    outcome = cell_outcomes.CellOutcome(
        cell={"key": "c"}, status="done", reason="", stages=(stage,)
    )
    assert cell_outcomes.devices(outcome) == device


def test_a_part_of_an_evaluation_is_waited_for_but_scores_nothing(plan, store):
    data.fill(store, plan)
    whole = plan["stages"][key_of(plan, "dense", "cloze")]
    part = {**whole, "key": "part", "params": {**whole["params"], "part": [0, 2]}}
    whole["parents"] = {**whole["parents"], "part 0": part}
    store.results["part"] = {"task": "cloze"}
    outcome = outcome_of(plan, store, "dense")
    assert [s.name for s in outcome.stages].count("evaluate cloze, part 1 of 2") == 1
    assert outcome.scores["cloze"] == store.results[whole["key"]]
    del store.results["part"]
    store.failures["part"] = {"message": "no such task"}
    assert outcome_of(plan, store, "dense").reason == "evaluate cloze, part 1 of 2: no such task"
