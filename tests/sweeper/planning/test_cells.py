"""A cell is what its values mean: equal meanings are equal cells, and nonsense is refused."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.errors import BadInput, NoCell
from sweeper.planning.cells import pruning
from sweeper.planning.cells.cell import CellMaker

MODEL = {"name": "m", "id": "org/m", "group_size": 64}
PRUNE = {
    "method": "sparsegpt",
    "sparsity": None,
    "blocks": None,
    "pattern": "unstructured",
    "block_size": 128,
    "dampening": 0.01,
    "profile": "uniform",
    "errors": "unit",
    "order": "first",
    "owl_lambda": 0.08,
    "owl_m": 5.0,
}
QUANT = {
    "method": "gptq",
    "bits": 16,
    "mask": "keep",
    "profile": "uniform",
    "errors": "unit",
    "widths": [2, 3, 4, 8],
    "group_size": None,
    "symmetric": True,
    "actorder": "static",
    "block_size": 128,
    "dampening": 0.01,
    "double_quant": False,
    "outlier_threshold": 6.0,
}
CALIBRATION = {"name": "c", "seed": 0, "samples": 8, "length": 64}
TASKS = {"names": ["a", "b"], "limit": None}


def sections(prune=(), quant=(), **others):
    return {
        "model": MODEL,
        "rescale": {"method": "none", "seed": 0, "spread": 1.5},
        "rotate": {"method": "none", "block_size": None, "seed": 0},
        "prune": PRUNE | dict(prune),
        "quant": QUANT | dict(quant),
        "calibration": CALIBRATION,
        "tasks": TASKS,
    } | others


def cell(prune=(), quant=(), **others):
    return CellMaker().cell(sections(prune, quant, **others))


@pytest.mark.parametrize(
    ("prune", "quant", "label", "tcr"),
    [
        ({}, {}, "dense", Fraction(0)),
        ({"sparsity": 25}, {}, "25%", Fraction(1, 4)),
        ({"sparsity": 33.333}, {}, "33.333%", Fraction(1, 3)),
        ({"sparsity": 50, "profile": "owl"}, {}, "50% (owl)", Fraction(1, 2)),
        (
            {"sparsity": 50, "profile": "owl"},
            {"method": "joint", "bits": 4},
            "50% (owl) + joint 4bit",
            Fraction(7, 8),
        ),
        ({"sparsity": 66.667}, {}, "66.667%", Fraction(2, 3)),
        (
            {"sparsity": 25, "method": "wanda", "order": "last"},
            {"bits": 4},
            "4bit + wanda 25%",
            Fraction(13, 16),
        ),
        ({"sparsity": 25, "method": "wanda", "order": "last"}, {}, "wanda 25%", Fraction(1, 4)),
        ({"pattern": "2:8"}, {}, "2:8", Fraction(1, 4)),
        ({}, {"bits": 4}, "4bit", Fraction(3, 4)),
        ({"sparsity": 25}, {"bits": 4}, "25% + 4bit", Fraction(13, 16)),
        ({}, {"bits": 3, "profile": "allocated"}, "3bit (allocated)", Fraction(13, 16)),
        ({"pattern": "1:3"}, {"bits": 3}, "1:3 + 3bit", Fraction(7, 8)),
        (
            {"sparsity": 25},
            {"bits": 4, "mask": "ignore"},
            "25% + 4bit (mask ignored)",
            Fraction(13, 16),
        ),
        ({"sparsity": 25, "method": "wanda"}, {}, "wanda 25%", Fraction(1, 4)),
        (
            {"pattern": "2:8", "method": "magnitude"},
            {"bits": 3, "method": "rtn"},
            "magnitude 2:8 + RTN 3bit",
            Fraction(55, 64),
        ),
        ({"sparsity": 25}, {"bits": 4, "method": "nf4"}, "25% + NF4", Fraction(13, 16)),
        ({}, {"bits": 8, "method": "llm_int8"}, "LLM.int8", Fraction(1, 2)),
        ({}, {"bits": 3, "method": "awq"}, "AWQ 3bit", Fraction(13, 16)),
        ({"sparsity": 25}, {"bits": 4, "method": "joint"}, "25% + joint 4bit", Fraction(13, 16)),
    ],
)
def test_labels_and_rates(prune, quant, label, tcr):
    made = cell(prune, quant)
    assert made.label == label
    assert made.tcr == pytest.approx(float(tcr), abs=1e-12)


def test_a_third_is_exactly_a_third():
    assert cell({"sparsity": 33.333}).sparsity == 1 / 3
    assert cell({"pattern": "2:6"}).sparsity == 1 / 3


@given(
    st.sampled_from([None, 0, 25, 33.333, 50, 75]),
    st.sampled_from(["unstructured", "2:8", "1:4", "2:6", "1:3"]),
    st.sampled_from([16, 8, 4, 3, 2]),
    st.sampled_from(["keep", "ignore"]),
)
def test_a_cell_is_pruned_and_quantized_as_its_values_say(sparsity, pattern, bits, mask):
    fixed = {"2:8": 0.25, "1:4": 0.25, "2:6": 1 / 3, "1:3": 1 / 3}.get(pattern)
    asked = None if sparsity is None else pruning.fraction(sparsity)
    if fixed is not None and asked is not None and asked != fixed:
        with pytest.raises(NoCell, match="fixes the sparsity"):
            cell({"sparsity": sparsity, "pattern": pattern}, {"bits": bits, "mask": mask})
        return
    made = cell({"sparsity": sparsity, "pattern": pattern}, {"bits": bits, "mask": mask})
    assert made.sparsity == (fixed if fixed is not None else asked or 0.0)
    assert made.bits == bits
    assert 0 <= made.tcr < 1
    joint = made.pruning is not None and made.quantization is not None
    assert made.mask == (mask if joint else "none")


def test_what_means_the_same_is_the_same_cell():
    assert cell() == cell({"sparsity": 0}) == cell({"method": "none"}) == cell(quant={"bits": 16})
    assert cell({"pattern": "2:8"}) == cell({"pattern": "2:8", "sparsity": 25})
    assert cell(quant={"bits": 4}) == cell(quant={"bits": 4, "group_size": 64})
    assert cell(quant={"bits": 4, "mask": "keep"}) == cell(quant={"bits": 4, "mask": "ignore"})
    assert cell({"sparsity": 50}) == cell({"sparsity": 50, "owl_m": 7.0})  # uniform
    assert cell() == cell(calibration=CALIBRATION | {"seed": 7})  # nothing looks at it


def test_a_profile_that_does_not_exist_is_refused():
    with pytest.raises(BadInput, match=r"prune\.profile=owls: valid: uniform, owl"):
        cell({"sparsity": 25, "profile": "owls"})


def test_what_a_method_does_not_look_at_makes_no_other_cell():
    free = {"sparsity": 25, "method": "magnitude"}
    rtn = {"bits": 4, "method": "rtn"}
    other = CALIBRATION | {"seed": 7}
    assert cell(free, rtn) == cell(free, rtn, calibration=other)
    assert cell({"sparsity": 25}, rtn) != cell({"sparsity": 25}, rtn, calibration=other)
    # zero is a point of its grid: nothing is there to be ignored
    assert cell(free, rtn | {"mask": "ignore"}) == cell(free, rtn | {"mask": "keep"})
    assert cell(free, rtn).mask == "keep"


def test_what_differs_is_another_cell():
    variants = [
        cell(),
        cell({"sparsity": 25}),
        cell({"pattern": "2:8"}),
        cell({"pattern": "1:4"}),
        cell({"sparsity": 50, "profile": "owl"}),
        cell({"sparsity": 50, "profile": "owl", "owl_m": 7.0}),
        cell(quant={"bits": 4}),
        cell(quant={"bits": 4, "actorder": "none"}),
        cell(quant={"bits": 4, "group_size": 32}),
        cell(quant={"bits": 4}, calibration=CALIBRATION | {"seed": 1}),
        cell(quant={"bits": 4}, tasks=TASKS | {"limit": 5}),
        cell({"sparsity": 25}, {"bits": 4}),
        cell({"sparsity": 25}, {"bits": 4, "mask": "ignore"}),
    ]
    assert all(a != b for a, b in itertools.combinations(variants, 2))


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (2500, "mean 25"),
        (-3, "percentage"),
        (0.25, "mean 25"),
        (0.999, "mean 99.9"),
        (100, "below 100"),
        (True, "percentage"),
    ],
)
def test_a_sparsity_that_is_no_percentage(value, hint):
    with pytest.raises(BadInput, match=hint) as refused:
        cell({"sparsity": value})
    assert "prune.sparsity" in str(refused.value)


@pytest.mark.parametrize("pattern", ["3:2", "0:4", "4:4", "2-4", "2:", "structured", ""])
def test_a_pattern_that_does_not_exist(pattern):
    with pytest.raises(BadInput, match=r"prune.pattern.*valid: unstructured, or N:M"):
        cell({"pattern": pattern})


def test_three_of_two_is_probably_two_of_three():
    with pytest.raises(BadInput, match=r"Did you mean 2:3\?"):
        cell({"pattern": "3:2"})


@pytest.mark.parametrize(
    ("prune", "quant", "message"),
    [
        (
            {"method": "magic", "sparsity": 25},
            {},
            "prune.method=magic: valid: none, asvd, jsq, magnitude, ",
        ),
        ({"method": "gptq", "sparsity": 25}, {}, "prune.method=gptq"),
        (
            {},
            {"method": "magic", "bits": 4},
            "quant.method=magic: valid: none, awq, gptq, ",
        ),
        ({}, {"bits": 0}, "quant.bits=0"),
        ({}, {"bits": 4, "mask": "maybe"}, "quant.mask=maybe: valid: keep, ignore"),
    ],
)
def test_values_that_do_not_exist_are_named_with_those_that_do(prune, quant, message):
    with pytest.raises(BadInput) as refused:
        cell(prune, quant)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("prune", "quant"),
    [
        ({"method": "none", "sparsity": 25}, {}),
        ({}, {"method": "none", "bits": 4}),
        ({}, {"method": "joint", "bits": 4}),
        ({"sparsity": 25, "method": "wanda"}, {"method": "joint", "bits": 4}),
        ({"sparsity": 25, "order": "last"}, {"bits": 4}),
        ({"sparsity": 25, "order": "last", "method": "wanda"}, {"bits": 4, "method": "nf4"}),
        ({"sparsity": 25, "order": "last", "method": "wanda"}, {"method": "joint", "bits": 4}),
        ({"pattern": "2:8", "sparsity": 0}, {}),
        ({"pattern": "2:8", "sparsity": 50}, {}),
    ],
)
def test_combinations_that_are_no_cell(prune, quant):
    with pytest.raises(NoCell):
        cell(prune, quant)
