"""Cells whose pruning removes parameters: amounts, labels, rates, refusals, and what follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.errors import BadInput
from sweeper.methods.low_rank.rank import rank_of
from sweeper.planning import builder
from sweeper.planning.plan import Plan, Stage
from tests import tiny
from tests.composing import composed


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    made = tiny.overrides(tmp_path_factory.mktemp("own"), layers=6)
    return [*made, "tasks.names=[demo_pydoc]"]


@pytest.fixture
def plan(own: list[str]) -> Any:
    def make(*overrides: str) -> Plan:
        chosen = [o for o in overrides if o.startswith("experiment=")]
        with composed(chosen) as (config, loader):
            return builder.plan(config, loader, [*own, *overrides])

    return make


def stage(plan: Plan, kind: str) -> Stage:
    return next(stage for stage in plan.stages.values() if stage.kind == kind)


def labels(plan: Plan) -> list[str]:
    return [cell.label for cell in plan.cells]


def test_removed_parameters_count_as_zeros_do(plan: Any) -> None:
    made = plan(
        "prune=svd_llm,asvd",
        "prune.sparsity=0,20",
        "quant=rtn",
        "quant.bits=16,8,6",
        "quant.group_size=-1",
    )
    rates = {cell.label: cell.cell.tcr for cell in made.cells}
    assert rates == {
        "dense": 0.0,
        "RTN 8bit": 0.5,
        "RTN 6bit": 0.625,
        "svd_llm 20%": pytest.approx(0.2),
        "asvd 20%": pytest.approx(0.2),
        "svd_llm 20% + RTN 8bit": pytest.approx(0.6),
        "svd_llm 20% + RTN 6bit": pytest.approx(0.7),
        "asvd 20% + RTN 8bit": pytest.approx(0.6),
        "asvd 20% + RTN 6bit": pytest.approx(0.7),
    }
    assert {cell.cell.mask for cell in made.cells} == {"none"}
    assert {cell.cell.pruning.pattern for cell in made.cells if cell.cell.pruning} == {"low-rank"}
    kinds = [stage.kind for stage in made.stages.values()]
    assert (kinds.count("prune"), kinds.count("quantize")) == (2, 6)


@pytest.mark.parametrize("name", ["svd_llm", "asvd", "shortgpt", "sleb"])
def test_nothing_removed_is_the_dense_model(plan: Any, name: str) -> None:
    assert labels(plan(f"prune={name}", "prune.sparsity=0")) == ["dense"]
    assert [stage.kind for stage in plan(f"prune={name}").stages.values()] == [
        "measure",
        "evaluate",
    ]


def test_groups_are_held_against_the_factors(plan: Any) -> None:
    with pytest.raises(
        BadInput, match=r"group_size=32.*q_proj\.1 \(25 columns\).*-1 \(whole rows\)"
    ):
        plan("prune=svd_llm", "prune.sparsity=20", "quant=rtn", "quant.bits=8")
    plan("quant=rtn", "quant.bits=8")


def test_later_stages_are_as_large_as_what_is_left(plan: Any) -> None:
    whole, less = (
        plan("quant=rtn", "quant.bits=8"),
        plan("prune=asvd", "prune.sparsity=50", "quant=rtn", "quant.bits=8", "quant.group_size=-1"),
    )
    rank = rank_of(192, 64, 0.5)
    assert rank * (192 + 64) <= 0.5 * 192 * 64
    assert stage(less, "quantize").bulk_bytes < 0.7 * stage(whole, "quantize").bulk_bytes
    assert stage(less, "evaluate").work < stage(whole, "evaluate").work
    halved = stage(plan("prune.sparsity=50"), "prune")
    assert stage(less, "prune").bulk_bytes < 0.8 * halved.bulk_bytes


def test_depth_is_counted_in_layers_or_as_their_share(plan: Any) -> None:
    by_number = plan("prune=shortgpt", "prune.blocks=0,1,2,3")
    assert labels(by_number) == ["dense", "shortgpt 16.667%", "shortgpt 33.333%", "shortgpt 50%"]
    assert [cell.cell.sparsity for cell in by_number.cells] == [0, 1 / 6, 2 / 6, 3 / 6]
    by_share = plan("prune=shortgpt", "prune.sparsity=0,16.667,33.333,50")
    assert list(by_share.stages) == list(by_number.stages)
    assert stage(by_share, "prune").params["blocks"] == 1
    joint = plan("prune=sleb", "prune.blocks=3", "quant.bits=4")
    assert labels(joint) == ["sleb 50% + 4bit"]
    assert joint.cells[0].cell.tcr == 1 - 4 / 16 * 0.5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["prune=shortgpt", "prune.sparsity=25"],
            "prune.sparsity=25: that is no whole number of the model's 6 decoder layers. "
            "Near: 16.667 (1) or 33.333 (2). Or say prune.blocks.",
        ),
        (
            ["prune=sleb", "prune.blocks=6"],
            "prune.blocks=6: this model has 6 decoder layers, so 0 to 5.",
        ),
        (["prune=sleb", "prune.blocks=-1"], "prune.blocks=-1: a number of decoder layers"),
        (
            ["prune=sleb", "prune.blocks=1", "prune.sparsity=50"],
            "prune.blocks=1: a number of decoder layers, 0 or more, without prune.sparsity.",
        ),
        (["prune.blocks=2"], "prune.method=sparsegpt removes no decoder layers"),
        (["prune=svd_llm", "prune.pattern=2:4"], "svd_llm removes parameters: it has no pattern"),
        (["prune=shortgpt", "prune.blocks=1", "prune.pattern=2:4"], "no pattern 2:4"),
        (["prune=asvd", "prune.sparsity=99"], "not even rank 1 is left of"),
    ],
)
def test_what_cannot_be_removed_is_refused(plan: Any, overrides: list[str], message: str) -> None:
    with pytest.raises(BadInput) as refused:
        plan(*overrides)
    assert message in str(refused.value)


def test_a_share_that_one_method_can_do_is_a_gap_for_the_other(plan: Any) -> None:
    made = plan("prune=shortgpt,wanda", "prune.sparsity=25,50")
    assert labels(made) == ["shortgpt 50%", "wanda 25%", "wanda 50%"]
    assert "no whole number" in made.dropped[0].reason


def test_only_what_counts_is_in_the_identity(plan: Any, tmp_path: Path) -> None:
    def key(*overrides: str) -> str:
        return stage(plan("prune.sparsity=20", *overrides), "prune").key

    assert key("prune=asvd") == key("prune=asvd", "prune.dampening=0.1")
    assert key("prune=asvd") != key("prune=asvd", "prune.alpha=0.4")
    assert key("prune=svd_llm") == key("prune=svd_llm", "prune.alpha=0.4")
    assert key("prune=svd_llm") != key("prune=svd_llm", "prune.dampening=0.1")


def test_the_grids_of_mpt_are_whole_curves(plan: Any) -> None:
    made = plan("experiment=mpt")
    assert made.dropped == ()
    shares: dict[tuple[str, int], list[float]] = {}
    for one in made.cells:
        method = one.cell.pruning.method if one.cell.pruning else ""
        shares.setdefault((method, one.cell.bits), []).append(one.cell.sparsity)
    to_70 = pytest.approx([s / 10 for s in range(1, 8)])
    assert all(shares["sparsegpt", bits] == to_70 for bits in (16, 8, 4, 3, 2))
    assert all(shares["wanda", bits] == to_70 for bits in (16, 8, 4, 3))
    to_30 = pytest.approx([s / 20 for s in range(1, 7)])
    assert all(shares["asvd", bits] == to_30 for bits in (16, 8, 6))
    assert "dense" in labels(made)
