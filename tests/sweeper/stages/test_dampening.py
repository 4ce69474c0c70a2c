"""Calibration with less text than a matrix has inputs, through every stage that factors a sum."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sweeper.errors import StageFailure
from sweeper.methods import dampening as dampenings
from sweeper.methods import hessian_modifier
from sweeper.methods.low_rank import modifier
from sweeper.modeling import checkpoint
from sweeper.stages.sensitivity import stage as stages

from .removal import logits

FEW = {"samples": 1, "length": 16, "seed": 0}
SVD = {"method": "svd_llm", "sparsity": 0.2, "pattern": "low-rank"}
JOINT = {"method": "joint", "sparsity": 0.25, "pattern": "unstructured", "mask": "keep"}
# far below the rounding of the sums, so that no processor is lucky with it
STAGES = [
    pytest.param("prune", {"dampening": 1e-12}, id="sparsegpt"),
    pytest.param("quantize", {"dampening": 1e-12}, id="gptq"),
    pytest.param("quantize", {"dampening": 1e-12, "mask": "exact"}, id="exact"),
    pytest.param("quantize", {"dampening": 1e-12} | JOINT, id="joint"),
    pytest.param("prune", {"dampening": 1e-18} | SVD, id="svd_llm"),
]
DOWN = "model.layers.0.mlp.down_proj"


def made(workshop: Any, stage: str, params: dict[str, Any], **more: Any) -> Path:
    out: Path = getattr(workshop, stage)(fresh=True, **(params | more))
    return out


def of_sensitivity(workshop: Any, **params: Any) -> Any:
    own = {"method": "svd_llm", "levels": 4, "errors": "unit", "model": {}}
    return workshop.job(
        own | {"compute_dtype": "float32", "calibration": FEW} | params,
        sources={"model": workshop.dense, "calibration": workshop.text},
    )


@pytest.mark.parametrize(("stage", "params"), STAGES)
def test_a_dampening_below_rounding_is_raised_recorded_and_named(
    workshop: Any, caplog: pytest.LogCaptureFixture, stage: str, params: dict[str, Any]
) -> None:
    with caplog.at_level(logging.WARNING, "sweeper"):
        out = made(workshop, stage, params, calibration=FEW)
    raised = workshop.results[out][dampenings.RECORD]
    assert params["dampening"] < raised[DOWN] < 1e-2
    assert any(DOWN in message and "dampening" in message for message in caplog.messages)
    tensors = load_file(out / "checkpoint" / "model.safetensors").values()
    assert all(torch.isfinite(t).all() for t in tensors if t.is_floating_point())
    json.dumps(workshop.results[out])


def test_sensitivity_records_it_too(workshop: Any, caplog: pytest.LogCaptureFixture) -> None:
    job = of_sensitivity(workshop, dampening=1e-18)
    with caplog.at_level(logging.WARNING, "sweeper"):
        result = stages.run(job)
    assert 1e-18 < result[dampenings.RECORD][DOWN] < 1e-6
    assert any(message.startswith(DOWN) for message in caplog.messages)
    rows = json.loads((job.out / stages.FILE).read_text())["matrices"]
    assert rows[DOWN]["errors"] == pytest.approx(sorted(rows[DOWN]["errors"]), abs=1e-6)
    assert rows[DOWN]["errors"][-1] > 1e-3


def test_svd_llm_needs_no_more_than_its_own_dampening_for_little_text(workshop: Any) -> None:
    """Its sums are in float64: 1e-6 is far above what those can be off."""
    out = made(workshop, "prune", SVD, dampening=1e-6, calibration=FEW)
    assert dampenings.RECORD not in workshop.results[out]
    assert dampenings.RECORD not in stages.run(of_sensitivity(workshop, dampening=1e-6))


@pytest.mark.parametrize(("stage", "params"), STAGES)
def test_where_nothing_fails_nothing_is_different(
    workshop: Any, monkeypatch: pytest.MonkeyPatch, stage: str, params: dict[str, Any]
) -> None:
    enough = {"dampening": 0.01, "calibration": {"samples": 8, "length": 64, "seed": 0}}

    def file(out: Path) -> bytes:
        return (out / "checkpoint" / "model.safetensors").read_bytes()

    one = made(workshop, stage, params, **enough)
    assert dampenings.RECORD not in workshop.results[one]

    def once(gram: Any, dampening: float, names: Any, attempt: Any) -> Any:
        return attempt(gram.matrix, dampening)

    monkeypatch.setattr(hessian_modifier, "factored", once)
    monkeypatch.setattr(modifier, "factored", once)
    assert file(made(workshop, stage, params, **enough)) == file(one)


@pytest.mark.parametrize(("stage", "params"), STAGES)
def test_inputs_that_are_not_finite_fail_the_cell(
    workshop: Any, monkeypatch: pytest.MonkeyPatch, stage: str, params: dict[str, Any]
) -> None:
    from sweeper.methods import hessian

    real = hessian._add_lower_triangle
    monkeypatch.setattr(
        hessian, "_add_lower_triangle", lambda total, rows: real(total, rows * float("nan"))
    )
    with pytest.raises(StageFailure, match=rf"(?s)layers\.0.*Raise {_knob(stage)}\.dampening"):
        made(workshop, stage, params, dampening=0.01)


@pytest.mark.parametrize(("stage", "params"), STAGES)
def test_a_sum_that_no_rounding_explains_fails_the_cell(
    workshop: Any, indefinite: None, stage: str, params: dict[str, Any]
) -> None:
    with pytest.raises(StageFailure, match=rf"mlp\.down_proj\. Raise {_knob(stage)}\.dampening"):
        made(workshop, stage, params, dampening=0.01)


def _knob(stage: str) -> str:
    return {"prune": "prune", "quantize": "quant"}[stage]


def test_what_is_left_by_so_little_text_is_a_model(workshop: Any) -> None:
    """At 5 % fewer parameters a whitening that was noise would leave nothing of the outputs."""
    light = SVD | {"sparsity": 0.05, "dampening": 1e-6}
    dense = logits(checkpoint.load(workshop.dense, dtype="float32"))
    out = made(workshop, "prune", light, calibration={"samples": 2, "length": 64, "seed": 0})
    found = logits(checkpoint.load(out / "checkpoint", dtype="float32"))
    assert float((found - dense).norm() / dense.norm()) < 0.9
