"""Plans with allocated bits and ranks: what they measure first, labels, what is no cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sweeper.errors import BadInput
from sweeper.planning import builder
from sweeper.planning.plan import Plan, Stage
from tests import tiny
from tests.composing import composed

MIXED = "quant.profile=allocated"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    made = tiny.overrides(tmp_path_factory.mktemp("own"))
    return [*made, "tasks.names=[demo_agreement]"]


@pytest.fixture
def plan(own: list[str]) -> Callable[..., Plan]:
    def make(*overrides: str) -> Plan:
        with composed([]) as (config, loader):
            return builder.plan(config, loader, [*own, *overrides])

    return make


def of_kind(made: Plan, kind: str) -> list[Stage]:
    return [stage for stage in made.stages.values() if stage.kind == kind]


def test_bits_rest_on_one_table_of_the_model_that_is_quantized(plan: Any) -> None:
    made = plan(MIXED, "prune.sparsity=0,25", "quant.bits=3,4", "quant=gptq,rtn")
    cells = {cell.label: cell for cell in made.cells}
    assert set(cells) == {
        f"{p}{q}{bits}bit (allocated)"
        for p in ("", "25% + ")
        for q in ("", "RTN ")
        for bits in (3, 4)
    }
    tables = of_kind(made, "sensitivity")
    assert len(tables) == 2
    dense = cells["4bit (allocated)"].stages["quantize"].parents
    assert dense == cells["RTN 3bit (allocated)"].stages["quantize"].parents
    pruned = cells["25% + 4bit (allocated)"].stages
    assert pruned["quantize"].parents["sensitivity"].parents == {"model": pruned["prune"]}
    assert cells["4bit (allocated)"].cell.tcr == 0.75
    measured = cells["4bit (allocated)"].stages["measure"].params
    assert measured["widths"] == [2, 3, 4, 8]


def test_a_uniform_cell_is_what_it_was(plan: Any) -> None:
    plain, said = plan("quant.bits=4"), plan("quant.bits=4", "quant.profile=uniform")
    assert list(plain.stages) == list(said.stages)
    assert "widths" not in of_kind(plain, "measure")[0].params
    other = plan("quant.bits=4", "quant.widths=[2,8]")
    assert list(plain.stages) == list(other.stages)


def test_the_key_of_a_mix_follows_its_table_and_its_widths(plan: Any) -> None:
    def key(*more: str) -> str:
        return of_kind(plan(MIXED, "quant=rtn", "quant.bits=4", *more), "quantize")[0].key

    made = [key(), key("quant.widths=[2,4,8]"), key("calibration.seed=1"), key("quant.bits=5")]
    assert len(set(made)) == 4


def test_rounding_alone_has_a_text_once_it_is_allocated(plan: Any) -> None:
    made = plan("quant=rtn", "quant.bits=4", "quant.profile=uniform,allocated")
    cells = {cell.label: cell for cell in made.cells}
    assert cells["RTN 4bit"].cell.calibration is None
    assert cells["RTN 4bit (allocated)"].cell.calibration is not None
    assert "calibration" not in cells["RTN 4bit (allocated)"].stages["quantize"].params


def test_ranks_rest_on_a_table_of_their_method(plan: Any) -> None:
    made = plan(
        "prune=svd_llm,asvd",
        "prune.sparsity=10,20",
        "prune.profile=uniform,allocated",
        "quant=rtn",
        "quant.bits=16,8",
        "quant.group_size=-1",
    )
    tables = of_kind(made, "sensitivity")
    assert {t.params["method"] for t in tables} == {"svd_llm", "asvd"}
    assert len(tables) == 2
    assert {"dampening", "levels"} <= set(tables[0].params) | set(tables[1].params)
    cells = {cell.label: cell for cell in made.cells}
    assert cells["svd_llm 20% (allocated) + RTN 8bit"].cell.tcr == pytest.approx(0.6)
    assert cells["asvd 20% (allocated)"].stages["measure"].params["profile"] == "allocated"
    assert "profile" not in cells["asvd 20%"].stages["measure"].params


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [MIXED, "quant.bits=4", "prune.sparsity=25", "prune.profile=allocated"],
            "prune.profile=allocated and quant.profile=allocated together would miss the rate",
        ),
        (
            [MIXED, "quant.bits=4", "prune.sparsity=25", "prune.profile=owl"],
            "prune.profile=owl and quant.profile=allocated together",
        ),
        ([MIXED, "quant.bits=4", "quant=awq"], "quant.method=awq has the same bits everywhere"),
        ([MIXED, "quant.bits=8"], "quant.bits=8: allocated bits mix 2, 3, 4, 8; valid: 3 to 7"),
        (["quant.profile=mixed", "quant.bits=4"], "quant.profile=mixed: valid: uniform, allocated"),
        (
            ["prune=svd_llm", "prune.profile=allocated", "prune.sparsity=20", "quant.bits=4"],
            "quant.group_size=32: with allocated ranks it is not known",
        ),
        (
            ["prune=svd_llm", "prune.profile=owl", "prune.sparsity=20"],
            "valid with low rank: uniform, allocated",
        ),
        (
            ["prune=shortgpt", "prune.profile=allocated", "prune.blocks=1"],
            "prune.method=shortgpt has the same sparsity everywhere",
        ),
    ],
)
def test_what_is_no_cell(plan: Any, overrides: list[str], message: str) -> None:
    with pytest.raises(BadInput) as refused:
        plan(*overrides)
    assert message in str(refused.value)


def test_in_a_grid_what_cannot_be_is_left_out_with_its_reason(plan: Any) -> None:
    made = plan(
        "quant.profile=uniform,allocated",
        "prune.profile=uniform,allocated",
        "quant.bits=8,4",
        "prune.sparsity=25",
    )
    assert {cell.label for cell in made.cells} == {
        "25% + 8bit",
        "25% + 4bit",
        "25% (allocated) + 8bit",
        "25% (allocated) + 4bit",
        "25% + 4bit (allocated)",
    }
    reasons = {dropped.reason.partition(" ")[0] for dropped in made.dropped}
    assert len(made.dropped) == 3
    assert reasons == {"prune.profile=allocated", "quant.bits=8:"}


def test_errors_on_other_inputs_are_another_table_and_another_cell(plan: Any) -> None:
    for axes in (
        ("prune.profile=allocated", "prune.sparsity=50", "prune.errors=unit,plain,loss"),
        (MIXED, "quant.bits=4", "quant.errors=unit,plain,loss"),
        (
            "prune=svd_llm",
            "prune.profile=allocated",
            "prune.sparsity=50",
            "prune.errors=unit,plain,loss",
        ),
    ):
        made = plan(*axes)
        assert [stage.params["errors"] for stage in of_kind(made, "sensitivity")] == [
            "unit",
            "plain",
            "loss",
        ]
        assert len({cell.label for cell in made.cells}) == 3


@pytest.mark.parametrize("section", ["prune", "quant"])
def test_errors_on_inputs_that_nobody_knows_are_refused(plan: Any, section: str) -> None:
    amount = {"prune": "prune.sparsity=50", "quant": "quant.bits=4"}[section]
    with pytest.raises(BadInput, match=f"{section}.errors=sized: valid: unit, plain, loss"):
        plan(f"{section}.profile=allocated", amount, f"{section}.errors=sized")


def test_a_table_costs_by_its_options(plan: Any) -> None:
    def work(*overrides: str) -> float:
        return of_kind(plan(*overrides), "sensitivity")[0].work

    shares = [
        work("prune.profile=allocated", "prune.sparsity=50", f"prune.levels={n}")
        for n in (5, 10, 20)
    ]
    assert shares[2] - shares[1] == pytest.approx(2 * (shares[1] - shares[0]))
    assert work(MIXED, "quant.bits=4") < shares[0]
    relative = [work(MIXED, "quant.bits=4", f"quant.errors={of}") for of in ("unit", "plain")]
    assert relative[0] == relative[1] < work(MIXED, "quant.bits=4")


def test_a_mix_can_be_pruned_last(plan: Any) -> None:
    made = plan(MIXED, "quant.bits=4", "prune=wanda", "prune.sparsity=25", "prune.order=last")
    (cell,) = made.cells
    assert cell.label == "4bit (allocated) + wanda 25%"
    assert cell.stages["prune"].parents == {"model": cell.stages["quantize"]}
