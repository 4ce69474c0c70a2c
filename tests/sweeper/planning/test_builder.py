"""The plan: which stages cells need, what is shared, and what a stage's key depends on."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from sweeper import methods
from sweeper.cli.commands.plan import _again
from sweeper.errors import BadInput, DamagedOutput
from sweeper.inputs import look
from sweeper.methods import validation
from sweeper.modeling.shapes import from_checkpoint
from sweeper.planning import builder
from sweeper.planning.estimate.cost import Estimate, cost
from sweeper.planning.stages import compression
from sweeper.planning.sweep import Sweep, nested, plan_json
from tests import tiny
from tests.composing import composed

needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="needs pip install 'isorate[bitsandbytes]'"
)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Overrides that name a tiny model and its calibration text."""
    made = tiny.overrides(tmp_path_factory.mktemp("own"))
    return [*made, "tasks.names=[demo_pydoc,demo_agreement]"]


@pytest.fixture
def plan(own):
    def make(*overrides):
        arguments = [*own, *overrides]
        # Hydra's overrides of hydra.* are composed, all others are axes.
        chosen = [o for o in arguments if o.startswith("experiment=")]
        with composed(chosen) as (config, loader):
            params = [f"{k}={v}" for k, v in config.hydra.sweeper.params.items()]
            return builder.plan(config, loader, [*params, *arguments])

    return make


def only(plan, kind):
    found = [stage for stage in plan.stages.values() if stage.kind == kind]
    assert len(found) == 1
    return found[0]


def keys(plan):
    return {stage.kind: stage.key for stage in plan.stages.values()}


def test_the_grid_of_the_paper(plan):
    made = plan("experiment=grid")
    assert len(made.cells) == 45
    assert len(made.dropped) + len(made.merged) == 80
    kinds = [stage.kind for stage in made.stages.values()]
    assert (kinds.count("prune"), kinds.count("quantize")) == (8, 36)
    # A pruned state has itself and four quantized cells.
    assert made.unshared - len(made.stages) == 8 * 4


def test_what_cells_share_is_one_stage(plan):
    made = plan("prune.sparsity=25", "quant.bits=16,8,4,3,2")
    kinds = [stage.kind for stage in made.stages.values()]
    assert kinds.count("prune") == 1
    assert kinds.count("quantize") == 4
    assert made.unshared == len(made.stages) + 4


def test_parents_come_before_children(plan):
    order = list(plan("experiment=grid").stages)
    stages = plan("experiment=grid").stages
    for key, stage in stages.items():
        assert all(order.index(p.key) < order.index(key) for p in stage.parents.values())


@needs_bitsandbytes
def test_every_configuration_of_the_paper(plan):
    with composed(["experiment=laborde2025"]) as (config, loader):
        params = [f"{k}={v}" for k, v in config.hydra.sweeper.params.items()]
        light = ["tasks.names=[demo_pydoc]", "tasks.path=isorate://tasks"]
        made = builder.plan(config, loader, [*params, "experiment=laborde2025", *light])
    labels = {}
    for cell in made.cells:
        labels.setdefault(cell.cell.model["name"], []).append(cell.label)
    expected = {
        "dense",
        "25%",
        "33.333%",
        "50%",
        "75%",
        "8bit",
        "4bit",
        "3bit",
        "2bit",
        "2:8",
        "1:4",
        "2:6",
        "1:3",
        "2:8 + 4bit",
        "1:4 + 4bit",
        "2:6 + 3bit",
        "1:3 + 3bit",
        "50% + 8bit",
        "25% + 4bit",
        "33.333% + 3bit",
        "NF4",
        "25% + NF4",
        "LLM.int8",
        "50% + LLM.int8",
    }
    assert {model: sorted(names) for model, names in labels.items()} == {
        "llama-3.1-8b": sorted(expected),
        "mistral-7b-v0.3": sorted(expected),
    }
    assert len(made.cells) == 48
    assert not made.dropped


@needs_bitsandbytes
def test_every_method_in_one_table(plan):
    made = plan("experiment=methods")
    assert len(made.cells) == 25
    assert not made.dropped
    used = {cell.cell.pruning.method for cell in made.cells if cell.cell.pruning}
    used |= {cell.cell.quantization.method for cell in made.cells if cell.cell.quantization}
    names = {*methods.names("prune"), *methods.names("quantize")}
    # what removes parameters has experiments of its own
    removing = (methods.ByRemoval, methods.Reshaping)
    assert used == {name for name in names if not isinstance(methods.method(name), removing)}
    assert all(cell.cell.tcr >= 0.5 for cell in made.cells if cell.label != "dense")


def test_joint_and_sequential_cells_come_in_equal_rates(plan):
    made = plan("experiment=joint_vs_sequential")
    assert len(made.cells) == 1 + 5 * 14
    assert not made.dropped
    rates = {round(cell.cell.tcr, 6) for cell in made.cells if cell.label != "dense"}
    assert rates == {0.75, 0.8125}
    at = [cell.cell.quantization for cell in made.cells if cell.cell.tcr == 0.8125]
    for refined in (0, 3):
        methods_of = [q.method for q in at if dict(q.options).get("refine", 0) == refined]
        assert methods_of.count("gptq") == 3 * 5
        assert methods_of.count("joint") == (2 if refined == 0 else 4) * 5
    swapped = [q for q in at if dict(q.options).get("swaps")]
    assert {(q.method, dict(q.options)["refine"]) for q in swapped} == {("joint", 3)}
    assert {cell.cell.model["compute_dtype"] for cell in made.cells} == {"float32"}


def test_joint_and_sequential_cells_can_be_run_in_parts(plan):
    whole = plan("experiment=joint_vs_sequential")
    parts = [plan("experiment=joint_vs_sequential", f"calibration.seed={s}") for s in range(5)]
    assert {key for part in parts for key in part.stages} == set(whole.stages)
    wide = plan("experiment=joint_vs_sequential_wide")
    assert not wide.dropped
    assert {cell.label for cell in wide.cells} >= {
        *("2bit, refined", "50% + joint 8bit, refined", "25% + 4bit (exact mask)", "dense")
    }
    shared = [s.kind for s in wide.stages.values() if s.key in whole.stages]
    assert "prune" in shared  # one report shows both, and what they share is made once


MEANING = [
    "prune.sparsity=50",
    "prune.pattern=2:8",
    "prune.block_size=64",
    "prune.dampening=0.1",
    "prune.profile=owl",
    "calibration.seed=1",
    "calibration.samples=5",
    "calibration.length=16",
    "model.compute_dtype=bfloat16",
    "model.save_dtype=float32",
]


@pytest.mark.parametrize("override", MEANING)
def test_what_means_something_changes_the_key(plan, override):
    before, after = (
        plan("prune.sparsity=25"),
        plan(*([] if "pattern" in override else ["prune.sparsity=25"]), override),
    )
    assert only(before, "prune").key != only(after, "prune").key


@pytest.mark.parametrize(
    "override",
    [
        "prune.owl_m=7",
        "quant.mask=ignore",
        "quant.actorder=none",
        "tasks.batch_size=4",
        "home=/tmp/x",
    ],
)
def test_what_means_nothing_to_a_stage_leaves_its_key(plan, override):
    assert only(plan("prune.sparsity=25"), "prune").key == (
        only(plan("prune.sparsity=25", override), "prune").key
    )


@pytest.mark.parametrize("override", ["tasks.batch_size=4", "tasks.dtype=float32", "tasks.limit=9"])
def test_how_a_model_is_scored_changes_only_the_score(plan, override):
    before, after = plan("quant.bits=4"), plan("quant.bits=4", override)
    assert keys(before)["quantize"] == keys(after)["quantize"]
    assert keys(before)["evaluate"] != keys(after)["evaluate"]


def test_the_version_of_the_library_is_part_of_the_meaning(plan, monkeypatch):
    before = only(plan("prune.sparsity=25"), "prune").key
    monkeypatch.setattr(compression, "library", lambda packages: dict.fromkeys(packages, "9.9"))
    assert only(plan("prune.sparsity=25"), "prune").key != before


def test_another_text_is_another_calibration_and_another_place_is_not(plan, own, tmp_path):
    text = next(o for o in own if o.startswith("calibration.path=")).partition("=")[2]
    copy, other = tmp_path / "copy.txt", tmp_path / "other.txt"
    content = Path(text).read_text(encoding="utf-8")
    copy.write_text(content, encoding="utf-8")
    other.write_text(content + "One more line.\n", encoding="utf-8")
    key = only(plan("prune.sparsity=25"), "prune").key
    assert only(plan("prune.sparsity=25", f"calibration.path={copy}"), "prune").key == key
    assert only(plan("prune.sparsity=25", f"calibration.path={other}"), "prune").key != key


def test_the_stage_of_a_method_without_calibration_does_not_depend_on_it(plan):
    made = plan("prune.sparsity=25", "quant=rtn", "quant.bits=4", "calibration.seed=0,1")
    assert [cell.label for cell in made.cells] == [
        "25% + RTN 4bit [seed=0]",
        "25% + RTN 4bit [seed=1]",
    ]
    free = plan("prune=magnitude", "prune.sparsity=25", "calibration.seed=0,1")
    assert [cell.label for cell in free.cells] == ["magnitude 25%"]
    params = only(free, "prune").params
    assert "calibration" not in params
    assert "calibration" not in only(free, "prune").sources


def test_what_prunes_and_quantizes_at_once_is_one_stage(plan):
    made = plan("quant=joint", "quant.bits=4,3", "prune.sparsity=0,25", "prune.block_size=64,128")
    assert [cell.label for cell in made.cells] == ["25% + joint 4bit", "25% + joint 3bit"]
    assert {d.reason.split(";")[0] for d in made.dropped} == {
        "quant.method=joint prunes and quantizes at once"
    }
    kinds = [stage.kind for stage in made.stages.values()]
    assert "prune" not in kinds
    params = next(s for s in made.stages.values() if s.kind == "quantize").params
    assert (params["sparsity"], params["pattern"], params["bits"]) == (0.25, "unstructured", 4)
    measured = next(s for s in made.stages.values() if s.kind == "measure")
    assert (measured.params["sparsity"], measured.params["mask"]) == (0.25, "keep")
    assert set(measured.parents) == {"model"}
    assert measured.label == "25% + joint 4bit"


@pytest.mark.parametrize(("method", "bits"), [("nf4", 4), ("llm_int8", 8)])
def test_a_missing_extra_is_refused_with_the_command_that_installs_it(
    plan, monkeypatch, method, bits
):
    monkeypatch.setattr(validation, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'isorate\[bitsandbytes\]'"):
        plan(f"quant.method=gptq,{method}", f"quant.bits={bits}")


@needs_bitsandbytes
def test_what_bitsandbytes_can_do_is_said(plan):
    with pytest.raises(BadInput, match=r"quant.bits=3: nf4, valid: 4"):
        plan("quant=nf4", "quant.bits=3")
    with pytest.raises(BadInput, match=r"quant.bits=4: llm_int8, valid: 8"):
        plan("quant=llm_int8", "quant.bits=4")
    with pytest.raises(BadInput, match=r"quant.outlier_threshold=-1.0: valid: 0"):
        plan("quant=llm_int8", "quant.outlier_threshold=-1")
    made = plan("quant=gptq,nf4", "quant.bits=4,3", "prune.sparsity=0,25")
    assert [c.label for c in made.cells] == [
        "4bit",
        "25% + 4bit",
        "3bit",
        "25% + 3bit",
        "NF4",
        "25% + NF4",
    ]
    assert {d.reason for d in made.dropped} == {"quant.bits=3: nf4, valid: 4."}


def test_the_calibration_seed_can_be_an_axis(plan):
    made = plan("quant.bits=4", "calibration.seed=0,1,2")
    assert [cell.label for cell in made.cells] == [f"4bit [seed={seed}]" for seed in range(3)]


def test_cells_of_one_label_are_told_apart(plan):
    made = plan("quant.bits=4", "quant.actorder=none,static", "quant.group_size=32,-1")
    assert len({cell.label for cell in made.cells}) == 4
    assert made.cells[0].label == "4bit [actorder=none, group_size=32]"


def test_what_a_method_cannot_do_is_a_gap_in_a_product_and_an_error_alone(plan, monkeypatch):
    def refusal(params):
        if params["bits"] == 3 and params["group_size"] == 32:
            return BadInput("quant.bits", 3, "not in groups of 32.")
        return None

    monkeypatch.setattr(methods.method("gptq"), "refusal", refusal)
    made = plan("quant.bits=4,3", "quant.group_size=32,-1")
    assert [d.overrides for d in made.dropped] == [("quant.bits=3", "quant.group_size=32")]
    assert "not in groups of 32" in made.dropped[0].reason
    with pytest.raises(BadInput, match="not in groups of 32"):
        plan("quant.bits=3", "quant.group_size=32")


def test_an_option_that_no_cell_can_use_is_a_mistake(plan):
    with pytest.raises(BadInput, match=r"quant.group_size=48"):
        plan("quant.bits=4", "quant.group_size=48")


def test_a_value_that_no_cell_can_use_is_a_mistake(plan):
    with pytest.raises(BadInput, match=r"quant.bits=5"):
        plan("quant.bits=4,5")


def test_a_plan_survives_the_disk(plan, tmp_path):
    made = plan("prune.sparsity=0,25", "quant.bits=16,4")
    sweep = Sweep(tmp_path, "s")
    sweep.record(made, ["a=1"], "drop")
    sweep.record(made, ["a=1"], "drop")
    assert len(list(sweep.path.glob("plan-*.json"))) == 1
    loaded = sweep.load()
    assert loaded["checkpoints"] == "drop"
    assert json.loads(json.dumps(plan_json(made)["cells"])) == loaded["cells"]
    assert set(loaded["stages"]) == set(made.stages)
    spec = loaded["stages"][made.cells[-1].stages["quantize"].key]
    assert spec["parents"]["model"]["kind"] == "prune"


def test_another_grid_under_the_same_name_adds_cells(plan, tmp_path):
    sweep = Sweep(tmp_path, "s")
    sweep.record(plan("quant.bits=16,4"), [], "drop")
    sweep.record(plan("quant.bits=4,3"), [], "keep")
    assert {cell["label"] for cell in sweep.load()["cells"]} == {"dense", "4bit", "3bit"}


def test_what_was_asked_for_last_is_the_newest_and_can_be_forgotten(plan, tmp_path):
    sweep = Sweep(tmp_path, "s")
    few, more = plan("quant.bits=16,4", "tasks.limit=20"), plan("quant.bits=16,4", "tasks.limit=40")
    for made, limit in ((few, 20), (more, 40), (few, 20)):
        sweep.record(made, [f"tasks.limit={limit}"], "drop")
        loaded = sweep.load()
        assert [cell["label"] for cell in loaded["cells"]] == ["dense", "4bit"]
        assert {cell["key"] for cell in loaded["cells"]} == {cell.key for cell in made.cells}
        assert loaded["overrides"] == [f"tasks.limit={limit}"]
    sweep.forget(sweep.plans[-1])
    loaded = sweep.load()
    assert {cell["key"] for cell in loaded["cells"]} == {cell.key for cell in more.cells}
    assert loaded["superseded"] == sorted(cell.key for cell in few.cells)
    sweep.record(few, ["tasks.limit=20"], "drop")
    assert sweep.load()["superseded"] == sorted(cell.key for cell in more.cells)


class Nothing:
    """A store in which nothing was ever done."""

    def scan(self, kind):
        return frozenset()

    def manifest(self, spec):
        return None

    def result(self, spec):
        return None

    def has_bulk(self, spec):
        return True


class Everything(Nothing):
    """A store in which some stages took known times."""

    def __init__(self, stages, seconds):
        self._stages, self._seconds = stages, seconds

    def scan(self, kind):
        return frozenset(stage.key for stage in self._stages if stage.kind == kind)

    def manifest(self, spec):
        return {"seconds": self._seconds, "device": "cpu"}


def test_the_cost_of_a_plan(plan):
    made = plan("prune.sparsity=0,25,50", "quant.bits=16,4,3")
    spent = cost(made, Nothing(), device="cpu", workers=2, keep="drop")
    assert spent.pending == set(made.stages)
    assert spent.seconds == pytest.approx(sum(e.seconds for e in spent.estimates.values()))
    assert spent.seconds / 2 <= spent.wall_seconds <= spent.seconds
    kept = cost(made, Nothing(), device="cpu", workers=2, keep="keep")
    everything = sum(stage.bulk_bytes for stage in made.stages.values())
    assert 0 < spent.peak_bytes < kept.peak_bytes
    assert kept.peak_bytes == pytest.approx(everything, abs=1)


def test_costs_are_measured_where_they_can_be(plan):
    made = plan("prune.sparsity=25,50", "quant.bits=4")
    prunes = [stage for stage in made.stages.values() if stage.kind == "prune"]
    spent = cost(made, Everything(prunes[:1], 123.0), device="cpu", workers=1, keep="drop")
    assert prunes[0].key not in spent.pending
    assert spent.estimates[prunes[1].key].source == "scaled"
    assert spent.estimates[prunes[1].key].seconds == pytest.approx(123.0)
    assert {spent.estimates[k].source for k in spent.pending} == {"scaled", "assumed"}


def test_a_damaged_output_is_work_to_do(plan):
    made = plan("prune.sparsity=25,50", "quant.bits=4")
    prunes = [stage for stage in made.stages.values() if stage.kind == "prune"]

    class Damaged(Everything):
        def result(self, spec):
            if spec["key"] == prunes[0].key:
                raise DamagedOutput("result.json has changed")

    spent = cost(made, Damaged(made.stages.values(), 50.0), device="cpu", workers=1, keep="drop")
    assert spent.pending == {prunes[0].key}
    assert spent.estimates[prunes[0].key] == Estimate(50.0, "scaled")


def test_other_work_on_the_machine_is_no_part_of_an_estimate(plan):
    """A stage that had to wait for its processor would be thought several times its size."""

    class Busy(Everything):
        def manifest(self, spec):
            return {"seconds": 350.0, "cpu_seconds": 50.0, "device": device}

    made = plan("prune.sparsity=25,50", "quant.bits=4")
    prunes = [stage for stage in made.stages.values() if stage.kind == "prune"]
    for device, seconds in (("cpu", 50.0), ("cuda", 350.0)):
        spent = cost(made, Busy(prunes[:1], 0), device=device, workers=1, keep="drop")
        assert [spent.estimates[p.key].seconds for p in prunes] == pytest.approx([seconds] * 2)


def test_a_dropped_checkpoint_that_has_to_be_read_is_made_again(plan):
    """A finished sweep has one bit-width more: pruned models are gone, the dense one is there."""

    class Dropped(Everything):
        def has_bulk(self, spec):
            return spec["kind"] != "prune"

    small = plan("prune.sparsity=0,25,50", "quant.bits=4")
    made = plan("prune.sparsity=0,25,50", "quant.bits=4,3")
    store = Dropped(small.stages.values(), 50.0)
    spent = cost(made, store, device="cpu", workers=1, keep="drop")
    new = set(made.stages) - set(small.stages)
    assert {made.stages[key].kind for key in new} == {"quantize", "measure", "evaluate"}
    assert spent.again == {key for key, s in made.stages.items() if s.kind == "prune"}
    assert spent.pending == new | spent.again
    for key in spent.again:
        assert spent.estimates[key] == Estimate(50.0, "measured")
    nothing = cost(small, store, device="cpu", workers=1, keep="drop")
    assert (nothing.pending, nothing.again) == (frozenset(), frozenset())
    assert _again(spent) == ", the dropped checkpoints of 2 more are made again"
    assert _again(nothing) == ""


def test_costs_are_scaled_from_other_sweeps(plan):
    """A sweep of another model has pruned at 1,000 work units a second."""

    class Elsewhere(Nothing):
        def scan(self, kind):
            return frozenset({"other"} if kind == "prune" else ())

        def manifest(self, spec):
            return {"seconds": prune.work / 2000, "work": prune.work / 2, "device": "cpu"}

    made = plan("prune.sparsity=25", "quant.bits=4")
    prune = next(stage for stage in made.stages.values() if stage.kind == "prune")
    here = cost(made, Elsewhere(), device="cpu", workers=1, keep="drop").estimates[prune.key]
    assert (here.source, here.seconds) == ("scaled", pytest.approx(prune.work / 1000))
    on_gpu = cost(made, Elsewhere(), device="cuda", workers=1, keep="drop")
    assert on_gpu.estimates[prune.key].source == "assumed"


@pytest.mark.parametrize(("factor", "source"), [(7.9, "scaled"), (8.1, "assumed")])
@pytest.mark.parametrize("larger", [True, False])
def test_the_start_up_of_a_tiny_model_is_not_multiplied(plan, factor, larger, source):
    """Ten seconds of a model a thousandth as large are imports, not work."""

    class Elsewhere(Nothing):
        def scan(self, kind):
            return frozenset({"other"} if kind == "quantize" else ())

        def manifest(self, spec):
            work = stage.work * factor if larger else stage.work / factor
            return {"seconds": 10.0, "work": work, "device": "cpu"}

    made = plan("prune.sparsity=0", "quant.bits=4")
    stage = next(stage for stage in made.stages.values() if stage.kind == "quantize")
    spent = cost(made, Elsewhere(), device="cpu", workers=1, keep="drop")
    assert spent.estimates[stage.key].source == source
    assert source in spent.sources()
    without = cost(made, Nothing(), device="cpu", workers=1, keep="drop")
    if source == "assumed":
        assert spent.estimates[stage.key] == without.estimates[stage.key]


def test_specs_embed_their_parents(plan):
    made = plan("prune.sparsity=25", "quant.bits=4")
    specs = nested(plan_json(made)["stages"])
    measure = next(s for s in specs.values() if s["kind"] == "measure")
    assert measure["parents"]["pruned"] is measure["parents"]["model"]["parents"]["model"]


def test_jsq_beside_its_rivals_at_equal_operations(own):
    # its cells set the number of samples
    arguments = [o for o in own if not o.startswith("calibration.samples")]
    with composed(["experiment=jsq2024"]) as (config, loader):
        made = builder.plan(config, loader, ["experiment=jsq2024", *arguments])
    assert len(made.cells) == 22
    kinds = [stage.kind for stage in made.stages.values()]
    # JSQ with SmoothQuant and with GPTQ share the search
    assert (kinds.count("prune"), kinds.count("quantize")) == (19, 19)
    assert len({cell.label for cell in made.cells}) == 22


def test_a_search_is_counted_as_many_passes(plan):
    one, many = (
        only(plan("prune=jsq", "prune.sparsity=50", f"prune.strengths={strengths}"), "prune")
        for strengths in ("[0]", "[0,0.1]")
    )
    assert many.work > 10 * one.work


def test_what_a_method_costs_is_counted(plan):
    def work(*overrides, kind="prune"):
        return only(plan("prune.sparsity=50", *overrides), kind).work

    assert work("prune=wanda") < work() < work("prune=jsq", "prune.strengths=[0]")
    rounding = {
        only(plan("quant=rtn", "quant.bits=4", f"calibration.samples={n}"), "quantize").work
        for n in (4, 8)
    }
    assert len(rounding) == 1, "it looks at no text"
    assert work("calibration.samples=8") == 2 * work()

    def quantizing(sparsity: int, mask: str) -> float:
        axes = [f"prune.sparsity={sparsity}", "quant.bits=4", f"quant.mask={mask}"]
        return only(plan(*axes), "quantize").work

    kept = quantizing(50, "keep")
    assert quantizing(25, "keep") == kept
    # a factor for each row costs the third power of the columns that it keeps
    exact = [quantizing(sparsity, "exact") - kept for sparsity in (25, 50)]
    assert exact[0] / exact[1] == pytest.approx((0.75 / 0.5) ** 3)
    asked = [stage for stage in plan("quant.bits=4").stages.values() if stage.kind == "evaluate"]
    text, questions = sorted(asked, key=lambda stage: stage.params["task"], reverse=True)
    assert text.params["task"] == "demo_pydoc"
    assert text.work > questions.work, "31 texts take longer than 360 questions"


def test_sleb_scores_every_layer_that_is_left_in_every_round():
    shapes = {f"model.layers.{i}.mlp.up_proj": (8, 8) for i in range(30)}
    costs = [methods.costed("sleb").passes({"shapes": shapes, "blocks": n}) for n in (1, 2, 3)]
    rounds = [b - a for a, b in pairwise(costs)]
    assert rounds[1] / rounds[0] == pytest.approx(28 / 29)


def test_an_allocation_rests_on_one_table_of_errors(plan):
    made = plan("prune.profile=allocated,uniform", "prune.sparsity=25,50", "quant.bits=16,4")
    kinds = [stage.kind for stage in made.stages.values()]
    assert kinds.count("sensitivity") == 1
    assert kinds.count("prune") == 4
    named = {cell.label: cell.stages["prune"].parents for cell in made.cells}
    assert set(named["25% (allocated) + 4bit"]) == {"sensitivity"}
    assert not named["25% + 4bit"]
    order = list(made.stages)
    table = next(key for key, stage in made.stages.items() if stage.kind == "sensitivity")
    assert all(
        order.index(table) < order.index(s.key)
        for s in made.stages.values()
        if "sensitivity" in s.parents
    )


def test_the_key_of_an_allocation_follows_its_table(plan):
    def pruned(*more):
        return only(plan("prune.profile=allocated", "prune.sparsity=50", *more), "prune").key

    assert len({pruned(), pruned("prune.levels=10"), pruned("calibration.seed=1")}) == 3


def test_uniform_against_allocated_at_equal_rates(own):
    arguments = [o for o in own if not o.startswith("calibration.samples")]
    with composed(["experiment=allocation"]) as (config, loader):
        params = [f"{k}={v}" for k, v in config.hydra.sweeper.params.items()]
        made = builder.plan(config, loader, [*params, "experiment=allocation", *arguments])
    rates = {round(cell.cell.tcr, 4) for cell in made.cells}
    assert {0.75, 0.8125, 0.875} <= rates
    assert {stage.kind for stage in made.stages.values()} >= {"sensitivity", "prune", "quantize"}


def test_a_quantized_model_can_be_pruned_afterwards(plan):
    made = plan("prune=wanda", "prune.sparsity=0,25", "prune.order=last", "quant.bits=4,3")
    assert {cell.label for cell in made.cells} == {
        "4bit",
        "3bit",
        "4bit + wanda 25%",
        "3bit + wanda 25%",
    }
    kinds = [stage.kind for stage in made.stages.values()]
    assert kinds.count("quantize") == kinds.count("prune") == 2  # the quantized model is shared
    cells = {cell.label: cell for cell in made.cells}
    last = cells["4bit + wanda 25%"].stages
    assert last["prune"].parents == {"model": last["quantize"]}
    assert last["measure"].parents == {"model": last["prune"]}
    assert last["quantize"] is cells["4bit"].stages["quantize"]
    scored = cells["4bit + wanda 25%"].tasks.values()
    assert all(stage.parents["model"] is last["prune"] for stage in scored)
    with pytest.raises(BadInput, match=r"prune.method=sparsegpt cannot prune a quantized model"):
        plan("prune.sparsity=25", "prune.order=last", "quant.bits=4")
    with pytest.raises(BadInput, match=r"prune\.order=lst: valid: first, last"):
        plan("prune.sparsity=25", "prune.order=lst", "quant.bits=4")


@needs_bitsandbytes
def test_the_disk_that_scales_take_is_planned_for(plan):
    def per_weight(*overrides):
        stage = only(plan(*overrides), "quantize")
        return 8 * (stage.bulk_bytes - 2 * shapes.other) / shapes.linear_parameters

    model = Path(only(plan("quant.bits=4"), "quantize").sources["model"])
    shapes = from_checkpoint(model, look.at(model).matrices)
    assert per_weight("quant.bits=4") == pytest.approx(4 + 16 / 32)
    assert per_weight("quant=nf4") == pytest.approx(4.5)
    # no matrix has more than 256 blocks, so each has one scale of its scales
    second = 32 * len(shapes.linear) / shapes.linear_parameters
    twice = per_weight("quant=nf4", "quant.double_quant=true")
    assert twice == pytest.approx(4 + 8 / 64 + second)
    assert per_weight("quant=llm_int8") == pytest.approx(8 + 32 / mean_columns(shapes))
    rows = per_weight("quant=smoothquant", "quant.bits=8")
    assert rows == pytest.approx(8 + 16 / mean_columns(shapes))
    points = per_weight("quant.bits=4", "quant.symmetric=false")
    assert points == pytest.approx(4 + (16 + 4) / 32)


def mean_columns(shapes):
    """Weights for each row of a matrix."""
    return shapes.linear_parameters / sum(rows for rows, _ in shapes.linear.values())


@needs_bitsandbytes
def test_cells_of_one_label_keep_the_bits_of_their_own_scales(plan):
    once, twice = plan("quant=nf4", "quant.double_quant=false,true").cells
    assert (once.label, twice.label) == ("NF4 [double_quant=False]", "NF4 [double_quant=True]")
    assert once.scale_bits == 0.5
    assert 8 / 64 < twice.scale_bits < 0.13


def test_cells_of_one_label_keep_their_groups_of_tasks(plan):
    made = plan("quant.bits=4", "quant.group_size=32,64").cells
    grouped = [replace(cell, label="4bit", groups={"pair": ["one", "two"]}) for cell in made]
    apart = builder._distinct(grouped)
    assert [cell.label for cell in apart] == ["4bit [group_size=32]", "4bit [group_size=64]"]
    assert all(cell.groups == {"pair": ["one", "two"]} for cell in apart)
