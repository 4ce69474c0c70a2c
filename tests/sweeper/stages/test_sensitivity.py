"""Layer errors by definition, and what is pruned with the allocation that follows from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeper.errors import StageFailure
from sweeper.methods.allocation.pruning_error import PrunedError
from sweeper.methods.allocation.sparsity import sparsities
from sweeper.methods.allocation.token_weights import UnitInputs
from sweeper.methods.hessian import Hessians, energy
from sweeper.methods.pruning.score_modifier import least_of_rows
from sweeper.modeling import checkpoint, masks
from sweeper.stages import Job, calibration, prune
from sweeper.stages.sensitivity import stage
from tests import rounding
from tests.sweeper.methods.layers import error

from .conftest import CALIBRATION, PRUNE

LEVELS = 8
PARAMS: dict[str, Any] = {
    "levels": LEVELS,
    "errors": "unit",
    "calibration": CALIBRATION,
    "model": {},
    "compute_dtype": "float32",
}


def taken(workshop: Any, errors: str) -> Path:
    sources = {"model": workshop.dense, "calibration": workshop.text}
    job = workshop.job(PARAMS | {"errors": errors, "compute_dtype": "float64"}, sources=sources)
    with rounding.exactly():
        result = stage.run(job)
    assert result == {"layers": 14, "calibration_tokens": 512}
    out: Path = job.out
    return out


@pytest.fixture(scope="module")
def measured(workshop: Any) -> Path:
    return taken(workshop, "unit")


@pytest.fixture(scope="module")
def measured_plain(workshop: Any) -> Path:
    return taken(workshop, "plain")


def table(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / stage.FILE).read_text())
    return found


def inputs_of(
    workshop: Any, name: str, dtype: str = "float32"
) -> tuple[torch.Tensor, torch.Tensor]:
    """(weight, inputs [tokens, columns]) of a matrix in the dense model."""
    model = checkpoint.load(workshop.dense, dtype=dtype)
    samples = calibration.samples(CALIBRATION, checkpoint.tokenizer(workshop.dense), workshop.text)
    seen: list[torch.Tensor] = []
    module = checkpoint.linears(model)[name]
    module.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    with torch.no_grad():
        model(samples)
    return module.weight.detach(), seen[0].flatten(0, 1)


@pytest.mark.parametrize("errors", ["measured", "measured_plain"])
@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.k_proj", "model.layers.1.mlp.down_proj"]
)
def test_errors_are_those_of_the_output(
    workshop: Any, request: pytest.FixtureRequest, name: str, errors: str
) -> None:
    row = table(request.getfixturevalue(errors))["matrices"][name]
    with rounding.exactly():
        weight, inputs = inputs_of(workshop, name, "float64")
    scores = weight.abs() * inputs.norm(dim=0)
    assert row["weights"] == weight.numel()
    assert row["errors"][0] == 0
    on = torch.nn.functional.normalize(inputs) if errors == "measured" else inputs
    for level in (1, 4, 7):
        kept = weight.masked_fill(least_of_rows(scores, level / LEVELS), 0)
        assert row["errors"][level] == pytest.approx(error(kept, weight, on) ** 2, rel=1e-10)


def test_a_massive_token_counts_as_one_of_many() -> None:
    """What kept 95 % of a matrix from counting: one token a thousand times longer than all."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 32, bias=False)
    inputs = torch.randn(256, 64)
    inputs[3] = 0
    inputs[3, 5] = 1000.0
    inputs[4] = 0
    unit = UnitInputs()
    scaled = unit.of(layer, inputs)
    assert unit.of(layer, inputs) is scaled, "matrices that read the same share a Hessian"
    assert scaled.norm(dim=1).tolist() == pytest.approx([1.0] * 4 + [0.0] + [1.0] * 251)
    errors = {}
    for name, seen in (("plain", inputs), ("unit", scaled)):
        sums, measure = Hessians(), PrunedError(levels=20)
        sums.add(layer, seen)
        measure.listen(layer, inputs)
        ((_, (hessian, _)),) = sums.take()
        found, _ = measure.of(layer, hessian)
        errors[name] = found[19] / energy(layer.weight.detach(), hessian)
    assert errors["plain"] < 0.02
    assert errors["unit"] > 0.5


@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_the_checkpoint_has_the_shares_and_the_sparsity_of_its_label(
    workshop: Any, measured: Path, method: str
) -> None:
    params = PRUNE | {
        "method": method,
        "sparsity": 0.5,
        "profile": "allocated",
        "levels": LEVELS,
        "errors": "unit",
    }
    job = workshop.job(
        params,
        inputs={"sensitivity": measured},
        sources={"model": workshop.dense, "calibration": workshop.text},
    )
    prune.run(job)
    shares = json.loads((job.out / "allocation.json").read_text())
    assert shares == sparsities(table(measured), 0.5)
    assert len(set(shares.values())) > 2
    for name, kept in masks.load(job.out / "mask").items():
        found = 1 - float(kept.float().mean())
        assert found == pytest.approx(shares[name], abs=2 / min(kept.shape)), name
    proven = workshop.measure(job.out, sparsity=0.5, bits=16)
    assert proven["rate"]["achieved"] == pytest.approx(0.5, abs=0.002)
    assert proven["rate"]["nominal"] == 0.5


def test_an_output_that_is_zero_fails_with_its_name(workshop: Any, tmp_path: Path) -> None:
    model = checkpoint.load(workshop.dense, dtype="float32")
    checkpoint.linears(model)["model.layers.1.mlp.up_proj"].weight.data.zero_()
    checkpoint.save_dense(model, workshop.dense, tmp_path / "dead", dtype="float32")
    sources = {"model": tmp_path / "dead", "calibration": workshop.text}
    job = Job(params=PARAMS, out=tmp_path, scratch=tmp_path, sources=sources)
    with pytest.raises(StageFailure, match=r"model\.layers\.1\.mlp\.\w+ are zero or not finite"):
        stage.run(job)
