"""The fast expansion of a grid is exactly what Hydra composes, only faster."""

from __future__ import annotations

import itertools

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from sweeper.config.grid import Grid, block_overrides
from sweeper.config.schema import SECTIONS
from sweeper.errors import BadInput
from tests.composing import composed


def by_hydra(loader, master, overrides):
    """Every combination, each composed by Hydra itself: the reference."""
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(overrides)
    axes = {}
    for override in parsed:
        key = override.get_key_element()
        swept = override.is_sweep_override()
        values = (
            override.sweep_string_iterator() if swept else [override.get_value_element_as_str()]
        )
        axes[key] = [f"{key}={value}" for value in values]
        if override.is_delete():
            axes[key] = [key]
    for choice in itertools.product(*axes.values()):
        config = loader.load_sweep_config(master, list(choice))
        yield {name: OmegaConf.to_container(config[name], resolve=True) for name in SECTIONS}


def assert_equal(overrides, extra=()):
    with composed([*extra]) as (master, loader):
        fast = [c.sections for c in Grid(loader, master).expand(overrides)]
        slow = list(by_hydra(loader, master, overrides))
        assert fast == slow
        return fast


AXES = [
    "prune.sparsity=0,33.333",
    "prune.pattern=unstructured,2:8",
    "prune.pattern='2:8','1:4'",
    "quant.bits=16,4",
    "quant.bits='4',8",
    "quant.group_size=null,64",
    "quant.symmetric=true,false",
    "quant.mask=keep,ignore",
    "calibration.seed=0,1",
    "calibration.seed=range(0,2)",
    "calibration.seed=choice(3,4)",
    "calibration.samples=${calibration.seed},8",
    "calibration.name=${prune.pattern}-${quant.bits},plain",
    "calibration.subset='a,b','c d'",
    "calibration.subset=${oc.env:HOME},x",
    "prune=none,sparsegpt",
    "prune=glob(*)",
    "quant=gptq,none",
    "model=smollm2-135m,llama-3.1-8b",
    "model.name=a,b",
    "model.architecture.hidden_size=64,128",
    "tasks.names=[a],[b,c]",
    "tasks.limit=10",
    "prune={dampening:0.02},{block_size:64}",
    "+tasks.names=[x]",
    "~experiment",
    "++calibration.path=/p,/q",
]


@pytest.mark.parametrize("axis", AXES)
def test_every_kind_of_axis_alone(axis):
    assert_equal([axis])


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(AXES), min_size=2, max_size=3, unique_by=lambda a: a.split("=")[0]))
def test_any_mix_of_axes(overrides):
    assert_equal(overrides)


def test_an_interpolation_never_goes_stale():
    sections = assert_equal(["calibration.name=${quant.bits}", "quant.bits=16,4,3"])
    assert [s["calibration"]["name"] for s in sections] == ["16", "4", "3"]
    sections = assert_equal(["calibration.name=${quant.bits},plain", "quant.bits=4,8"])
    assert [s["calibration"]["name"] for s in sections] == ["4", "8", "plain", "plain"]


def test_no_quotes_leak_into_a_cell():
    sections = assert_equal(["calibration.subset='a','b'", "quant.bits='4',8"])
    assert {type(s["calibration"]["subset"]) for s in sections} == {str}
    assert {s["quant"]["bits"] for s in sections} == {4, 8}


def test_equal_sections_are_one_object():
    with composed([]) as (master, loader):
        cells = list(Grid(loader, master).expand(["quant.bits=8,4", "calibration.seed=0,1"]))
    assert len({id(c.sections["quant"]) for c in cells}) == 2
    assert len({id(c.sections["model"]) for c in cells}) == 1


def test_overrides_name_only_what_is_swept():
    with composed([]) as (master, loader):
        cells = list(Grid(loader, master).expand(["quant.bits=8,4", "prune.sparsity=25"]))
    assert [c.overrides for c in cells] == [("quant.bits=8",), ("quant.bits=4",)]


def test_a_later_override_wins_as_in_hydra():
    with composed([]) as (master, loader):
        cells = list(Grid(loader, master).expand(["quant.bits=8,4", "quant.bits=3"]))
    assert [c.sections["quant"]["bits"] for c in cells] == [3]


@pytest.mark.parametrize("axis", ["home=a,b", "checkpoints=keep,drop", "name=a,b"])
def test_only_sections_of_a_cell_can_be_axes(axis):
    with composed([]) as (master, loader), pytest.raises(BadInput, match="axes of a grid"):
        list(Grid(loader, master).expand([axis]))


def test_an_interval_is_refused():
    with composed([]) as (master, loader), pytest.raises(BadInput, match="interval"):
        list(Grid(loader, master).expand(["prune.sparsity=interval(0,50)"]))


def test_one_block_leaves_nothing_behind_for_the_next():
    with composed([]) as (master, loader):
        grid = Grid(loader, master)
        for block in (
            ["prune.sparsity=25", "quant.bits=4,3"],
            ["quant.bits=4"],
            [],
            ["prune=none"],
        ):
            fast = [c.sections for c in grid.expand(["calibration.seed=0,1"], block)]
            assert fast == list(by_hydra(loader, master, ["calibration.seed=0,1", *block]))


def test_blocks_become_overrides():
    block = {"prune.pattern": "2:8", "quant.bits": 4, "tasks.limit": None}
    assert block_overrides(block, swept=False) == [
        "prune.pattern='2:8'",
        "quant.bits=4",
        "tasks.limit=null",
    ]
    assert block_overrides({"quant.bits": [8, 4]}, swept=True) == ["quant.bits=8,4"]
    assert block_overrides({"quant.bits": "8,4"}, swept=True) == ["quant.bits=8,4"]
