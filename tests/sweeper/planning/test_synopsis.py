"""What a plan says before the cells: what they are made of, and what to reconsider."""

from __future__ import annotations

import pytest

from sweeper.planning import builder
from sweeper.planning.synopsis import synopsis, warnings
from tests.composing import composed


@pytest.fixture(scope="module")
def demo():
    return cells("quant.bits=16,4", "prune.sparsity=0,25")


def cells(*overrides: str):
    with composed([]) as (config, loader):
        return builder.plan(config, loader, list(overrides)).cells


OTHER = ("model=llama-3.1-8b", "quant.bits=16,4", "prune.sparsity=0,25")


def test_it_names_model_methods_calibration_and_tasks(demo) -> None:
    found = synopsis(demo)
    assert found.models == ("smollm2-135m (SmolLM2-135M-Instruct.Q4_1.gguf)",)
    assert found.methods == ("prune sparsegpt", "quant gptq")
    assert found.calibrations == ("pydoc, 32 samples of 256 tokens, seed 0",)
    assert found.tasks[:2] == ("demo_pydoc", "demo_agreement")
    text = found.text()
    assert [line.split(":")[0] for line in text.splitlines()] == [
        *("Model", "Method", "Calibration", "Tasks"),
    ]


def test_the_dense_model_alone_needs_no_method_and_no_text() -> None:
    text = synopsis(cells("quant.bits=16", "prune.sparsity=0")).text()
    assert "none, the dense model alone" in text
    assert "none, no method looks at a text" in text


def test_the_demo_as_it_is_meant_has_no_warning(demo) -> None:
    assert warnings(demo) == ()


def test_the_demos_tasks_and_text_are_for_its_model_alone() -> None:
    said = warnings(cells(*OTHER))
    assert len(said) == 2
    assert said[0].startswith("llama-3.1-8b would be scored on the demo's tasks")
    assert said[1].startswith("llama-3.1-8b would be calibrated on the demo's text")
    assert warnings(cells(*OTHER, "tasks=small", "calibration=c4")) == ()


def test_a_sweep_without_its_dense_cell_is_warned_of(demo) -> None:
    lacking = [one for one in demo if not one.cell.dense]
    (said,) = warnings(lacking)
    assert said.startswith("smollm2-135m has no dense cell")
    assert "prune.sparsity=0" in said
    assert warnings(lacking, {"smollm2-135m"}) == ()  # the sweep has it from an earlier plan
