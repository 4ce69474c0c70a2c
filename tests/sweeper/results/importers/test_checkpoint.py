"""Checkpoints that were compressed elsewhere become cells: measured, scored, refused by field."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sweeper.errors import BadInput, StageFailure
from sweeper.inputs.pins import Pins
from sweeper.planning import builder
from sweeper.planning.sweep import Sweep, cell_json, nested, plan_json
from sweeper.results import outcomes, tables
from sweeper.results.importers import checkpoint
from sweeper.stages.measure import checks as label
from sweeper.stages.measure import stage as stages
from sweeper.store.store import Store
from sweeper.worker import runner
from tests import tiny
from tests.composing import composed


def test_one_width_is_no_mix(made, model) -> None:
    mixed = [*GRID, "quant.profile=allocated", "quant.widths=[2,4,8]"]
    wanted = cell(plan_of(model, *mixed), f"{made[2]} (allocated)")
    with pytest.raises(BadInput, match=r"quant\.profile is 'uniform', here 'allocated'"):
        checkpoint.check(wanted, made[1] / "both", Pins())


TASK = "demo_agreement"
GRID = ["prune=magnitude", "quant=rtn", "prune.sparsity=0,50", "quant.bits=16,4"]


def plan_of(model: Path, *words: str, elsewhere=None):
    words = [
        "model=custom",
        f"model.id={model}",
        "model.name=tiny",
        "model.group_size=32",
        f"tasks.names=[{TASK}]",
        "tasks.limit=8",
        *(words or GRID),
    ]
    with composed(words) as (config, loader):
        return builder.plan(config, loader, words, Pins(), elsewhere)


def cell(plan, label):
    return next(one for one in plan.cells if one.label == label)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """The cell "50% + 4bit" made, measured and scored here; (its stages' results, checkpoint)."""
    home = tmp_path_factory.mktemp("first")
    store, plan = Store(home), plan_of(model)
    specs = nested(plan_json(plan)["stages"])
    mine = next(one for one in plan.cells if one.cell.sparsity and one.cell.bits == 4)
    for stage in mine.all_stages():
        runner.run_stage(specs[stage.key], store)
    runner.run_stage(specs[mine.stages["quantize"].key], store, bulk=True)
    named = {"measure": mine.stages["measure"], "evaluate": mine.tasks[TASK]}
    results = {role: store.result(specs[stage.key]) for role, stage in named.items()}
    quantized = store.path(specs[mine.stages["quantize"].key]) / "checkpoint"
    pruned = store.path(specs[mine.stages["prune"].key]) / "checkpoint"
    place = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(quantized, place / "both")
    shutil.copytree(pruned, place / "pruned")
    return results, place, mine.label


def test_an_imported_checkpoint_is_measured_and_scored_as_if_made_here(
    made, model, tmp_path
) -> None:
    results, place, name = made
    sweep = Sweep(tmp_path, "paid")
    first = cell(plan_of(model), name)
    checkpoint.check(first, place / "both", Pins())
    checkpoint.add(sweep, first, place / "both")
    plan = plan_of(model, elsewhere=sweep.elsewhere)
    mine = cell(plan, name)
    assert set(mine.stages) == {"measure"}
    assert mine.key != first.key
    # The pruned checkpoint is still made for the cell that is only pruned; no other is lost.
    assert [one.label for one in plan.cells] == [one.label for one in plan_of(model).cells]
    sweep.record(plan, [], "drop")
    record, store = sweep.load(), Store(tmp_path)
    for stage in mine.all_stages():
        runner.run_stage(record["stages"][stage.key], store)
    outcome = next(o for o in outcomes.collect(record, store) if o.key == mine.key)
    assert outcome.status == "done"
    ours = results["evaluate"]["metrics"]
    assert outcome.scores[TASK]["metrics"] == ours
    measured = outcome.measured
    assert measured["bits_per_weight"]["stored"] == results["measure"]["bits_per_weight"]["stored"]
    # Which of its zeros were pruned nothing says: what follows from that stays a gap.
    assert "containment" not in measured
    assert "achieved_sparsity" not in measured
    assert "achieved" not in measured["rate"]
    row = tables.cell_rows([outcome])[0]
    assert row["unproved"] == label.UNKNOWN
    assert row["containment"] is None


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """A pruned model and the same quantized by GPTQ that knows of no mask; their directories."""
    home = tmp_path_factory.mktemp("stock")
    words = [
        *tiny.overrides(home),
        f"tasks.names=[{TASK}]",
        "tasks.limit=8",
        "prune=magnitude",
        "prune.sparsity=25",
        "quant.bits=2",
        "quant.mask=ignore",
    ]
    with composed(words) as (config, loader):
        plan = builder.plan(config, loader, words, Pins())
    (mine,), store, specs = plan.cells, Store(home), nested(plan_json(plan)["stages"])
    for role in ("prune", "quantize"):
        runner.run_stage(specs[mine.stages[role].key], store, bulk=True)
    runner.run_stage(specs[mine.stages["measure"].key], store)
    pruned, quantized = (store.path(specs[mine.stages[r].key]) for r in ("prune", "quantize"))
    here = store.result(specs[mine.stages["measure"].key])
    return words[:-1], pruned, quantized / "checkpoint", here["containment"]


def imported_as(stock, home, *more):
    words = [*stock[0], f"model.compressed={stock[2]}", *more]
    with composed(words) as (config, loader):
        plan = builder.plan(config, loader, words, Pins())
    spec = nested(plan_json(plan)["stages"])[plan.cells[0].stages["measure"].key]
    store = Store(home)
    runner.run_stage(spec, store)
    return store.result(spec)


def test_a_mask_that_was_refilled_elsewhere_is_no_mask_kept(stock, tmp_path) -> None:
    """Stock GPTQ moves the pruned weights too; enough zeros by rounding prove nothing."""
    found = imported_as(stock, tmp_path, "quant.mask=keep")
    assert found["unproved"] == label.UNKNOWN
    assert "containment" not in found
    assert found["zeros"] > 0.25  # as many as the label says, and yet
    assert stock[3]["mean"] < 0.99


@pytest.mark.parametrize("place", ["checkpoint", "mask", "."])
def test_it_is_measured_against_what_it_was_quantized_from(stock, tmp_path, place) -> None:
    given = f"model.pruned={stock[1] / place}"
    with pytest.raises(
        StageFailure, match=r"no longer zero in \d+ of 14 matrices: .* fewest in mod"
    ):
        imported_as(stock, tmp_path, "quant.mask=keep", given)
    found = imported_as(stock, tmp_path, "quant.mask=ignore", given)
    assert found["containment"] == stock[3]
    assert min(found["containment"]["worst"].values()) == found["containment"]["min"]
    assert "unproved" not in found


def test_the_import_holds_it_against_the_mask(stock, tmp_path) -> None:
    words = [*stock[0], "quant.mask=keep,ignore"]
    with composed(words) as (config, loader):
        plan = builder.plan(config, loader, words, Pins())
    kept = next(one for one in plan.cells if one.cell.mask == "keep")
    with pytest.raises(BadInput, match=r"pruned weights are no longer zero .*quant.mask=ignore"):
        checkpoint.check(kept, stock[2], Pins(), stock[1])
    found = checkpoint.find(plan.cells, stock[2], Pins(), stock[1])
    assert found.cell.mask == "ignore"
    sweep = Sweep(tmp_path, "paid")
    checkpoint.add(sweep, found, stock[2], stock[1])
    with composed(words) as (config, loader):
        again = builder.plan(config, loader, words, Pins(), sweep.elsewhere)
    (mine,) = [one for one in again.cells if one.label == found.label]
    assert mine.stages["measure"].sources["pruned"] == str(stock[1] / "mask")


def test_a_mask_of_nothing_or_of_another_model_is_refused(stock, made, tmp_path) -> None:
    words = [*stock[0], f"model.pruned={stock[1]}", "quant.mask=keep"]
    with composed(words) as (config, loader), pytest.raises(BadInput, match="which is not set"):
        builder.plan(config, loader, words, Pins())
    other = tiny.make(tmp_path / "other", hidden=32)
    with pytest.raises(StageFailure, match="it is that of another model"):
        imported_as(stock, tmp_path, "quant.mask=keep", f"model.pruned={other}")


def test_zeros_by_rounding_do_not_count_as_pruned() -> None:
    """Of a quantized checkpoint without its mask nobody knows which zeros were pruned."""
    counts = [
        {
            "rows": 10,
            "columns": 8,
            "zeros": zeros,
            "held": zeros,
            "pruned": zeros,
            "nm_valid_groups": 20,
        }
        for zeros in (40, 20)
    ]
    params = {"sparsity": 0.25, "pattern": "unstructured", "bits": 4}
    assert not label.known(label.without_mask(counts, params))
    plain = label.without_mask(counts, params | {"bits": 16})  # there each zero was pruned
    assert [row["held"] for row in plain] == [40, 20]
    groups = label.without_mask(counts, params | {"pattern": "1:4"})
    assert [row["held"] for row in groups] == [20, 20]  # the groups have theirs
    assert all("pruned" not in row for row in (*plain, *groups))


def test_the_cell_that_it_replaces_leaves_the_sweep(made, model, tmp_path) -> None:
    _, place, label = made
    sweep, plan = Sweep(tmp_path, "paid"), plan_of(model)
    sweep.record(plan, [], "drop")
    checkpoint.add(sweep, cell(plan, label), place / "both")
    sweep.record(plan_of(model, elsewhere=sweep.elsewhere), [], "drop")
    labels = [one["label"] for one in sweep.load()["cells"]]
    assert sorted(labels) == sorted(one.label for one in plan.cells)
    mine = next(one for one in sweep.load()["cells"] if one["label"] == label)
    assert mine["config"]["model"]["compressed"] == str(place / "both")
    assert mine["config"]["quantize"]["group_size"] == 32
    assert "calibration" not in mine["config"]


def test_the_cell_is_found_by_the_files(made, model) -> None:
    _, place, _ = made
    cells = plan_of(model).cells
    assert checkpoint.find(cells, place / "pruned", Pins()).cell.bits == 16
    with pytest.raises(BadInput, match=r"can be each of: .*RTN 4bit, .*Say which one"):
        checkpoint.find(cells, place / "both", Pins())
    with pytest.raises(BadInput, match=r"no cell of this sweep: .*sparsity is 50.*, here 25"):
        checkpoint.find(
            plan_of(model, "prune=magnitude", "prune.sparsity=25", "quant.bits=16").cells,
            place / "pruned",
            Pins(),
        )


def test_the_files_are_read_once_however_many_cells_there_are(made, model, monkeypatch) -> None:
    genuine, read = stages.read_rows, []
    monkeypatch.setattr(stages, "read_rows", lambda *of: read.append(of) or genuine(*of))
    checkpoint._rows.cache_clear()
    cells = plan_of(model, "prune=magnitude", "prune.sparsity=25,50,75", "quant.bits=16").cells
    assert checkpoint.find(cells, made[1] / "pruned", Pins()).cell.sparsity == 0.5
    assert len(read) == 1


def edited(place: Path, to: Path, change) -> Path:
    shutil.copytree(place, to)
    config = json.loads((to / "config.json").read_text())
    change(config)
    (to / "config.json").write_text(json.dumps(config))
    return to


def weights(config):
    return config["quantization_config"]["config_groups"]["group_0"]["weights"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: weights(c).update(num_bits=8), "quant.bits is 8, here 4"),
        (lambda c: weights(c).update(group_size=64), "quant.group_size is 64, here 32"),
        (lambda c: weights(c).update(symmetric=False), "quant.symmetric is False, here True"),
        (lambda c: c.update(hidden_size=128), "hidden_size is 128, tiny has 64"),
        (lambda c: c.pop("quantization_config"), "quant.bits is 16, here 4"),
        (
            lambda c: c["quantization_config"].update(quant_method="gptq"),
            "not read: quant_method 'gp",
        ),
        (
            lambda c: c["quantization_config"].update(format="float-quantized"),
            "as 'float-quantized'",
        ),
        (
            lambda c: c.update(
                quantization_config={
                    "quant_method": "bitsandbytes",
                    "load_in_4bit": True,
                    "bnb_4bit_quant_type": "nf4",
                }
            ),
            "quant.method is 'nf4', here 'rtn'",
        ),
        (
            lambda c: c.update(
                quantization_config={
                    "quant_method": "bitsandbytes",
                    "load_in_4bit": True,
                    "bnb_4bit_quant_type": "fp4",
                }
            ),
            "bitsandbytes as 'fp4'",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_its_field(made, model, tmp_path, change, told) -> None:
    _, place, label = made
    wrong = edited(place / "both", tmp_path / "wrong", change)
    with pytest.raises(BadInput) as refused:
        checkpoint.check(cell(plan_of(model), label), wrong, Pins())
    assert told in str(refused.value)


def test_a_dense_cell_is_none_that_was_compressed(made, model) -> None:
    with pytest.raises(BadInput, match="this cell is dense"):
        checkpoint.check(cell(plan_of(model), "dense"), made[1] / "pruned", Pins())


def test_weights_of_32_bits_are_taken_and_those_of_64_are_not(made, model, tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    wide = tmp_path / "wide"
    shutil.copytree(made[1] / "pruned", wide)
    pruned = next(one for one in plan_of(model).cells if one.cell.sparsity and one.cell.bits == 16)
    for wider in ("float", "double"):
        tensors = {k: getattr(v, wider)() for k, v in load_file(wide / "model.safetensors").items()}
        save_file(tensors, wide / "model.safetensors", metadata={"format": "pt"})
        if wider == "float":
            checkpoint.check(pruned, wide, Pins())
    with pytest.raises(BadInput, match="stored as F64, here as numbers"):
        checkpoint.check(pruned, wide, Pins())


def test_a_listed_cell_names_its_checkpoint_outright(made, model, tmp_path) -> None:
    _, place, label = made
    listed = [
        "prune=magnitude",
        "quant=rtn",
        "prune.sparsity=50",
        "quant.bits=4",
        f"model.compressed={place / 'both'}",
    ]
    (only,) = plan_of(model, *listed).cells
    assert (only.label, set(only.stages)) == (label, {"measure"})


def test_its_record_has_the_options_that_its_label_names(made, model) -> None:
    (only,) = plan_of(
        model,
        "prune=wanda",
        "prune.sparsity=50",
        "prune.profile=owl",
        "quant=none",
        f"model.compressed={made[1] / 'pruned'}",
    ).cells
    assert only.label == "wanda 50% (owl)"
    assert cell_json(only)["config"]["prune"]["profile"] == "owl"


def test_measure_refuses_what_has_too_few_zeros(made, model, tmp_path) -> None:
    """The check of the import is not the only one: the files may change, or be named outright."""
    listed = ["prune=magnitude", "prune.sparsity=75", f"model.compressed={made[1] / 'pruned'}"]
    plan = plan_of(model, *listed)
    spec = nested(plan_json(plan)["stages"])[plan.cells[0].stages["measure"].key]
    with pytest.raises(StageFailure, match="are pruned, the label says 75"):
        runner.run_stage(spec, Store(tmp_path))
