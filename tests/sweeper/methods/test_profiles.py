"""Profiles: OWL's formula, the label's sparsity whatever the profile, and who honours it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sweeper.errors import StageFailure
from sweeper.methods import method
from sweeper.methods.allocation import owl
from sweeper.methods.profiles import refuse_profile
from sweeper.modeling import checkpoint, masks
from sweeper.stages import Job, calibration, measure, oneshot, quantize
from sweeper.stages.prune import stage
from tests import tiny

CALIBRATION = {"samples": 4, "length": 64, "seed": 0}
PARAMS: dict[str, Any] = {
    "method": "wanda",
    "sparsity": 0.5,
    "pattern": "unstructured",
    "profile": "owl",
    "owl_lambda": 0.08,
    "owl_m": 3.0,
    "model": {},
    "calibration": CALIBRATION,
    "block_size": 128,
    "dampening": 0.01,
    "compute_dtype": "float32",
    "save_dtype": "float32",
}
JOINT = {"method": "joint", "bits": 8, "mask": "keep", "group_size": 64, "symmetric": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of three layers, with outliers of their own."""
    folder = tmp_path_factory.mktemp("profiles")
    dense = tiny.make(folder / "plain", layers=3)
    tiny.text(folder / "text.txt")
    model = checkpoint.load(dense, dtype="float32")
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[::7] *= 30
        model.model.layers[1].mlp.up_proj.weight[::29] *= 30
    checkpoint.save_dense(model, dense, folder / "dense", dtype="float32")
    return folder


def job(folder: Path, out: Path, **params: Any) -> Job:
    sources = {"model": folder / "dense", "calibration": folder / "text.txt"}
    return Job(params=PARAMS | params, out=out, scratch=out, sources=sources)


def ratios(folder: Path) -> list[float]:
    """Section 3.1 of arXiv:2310.05175 in numpy, layer by layer."""
    model = checkpoint.load(folder / "dense", dtype="float32")
    seen: dict[str, list[np.ndarray]] = {}
    for name, module in checkpoint.linears(model).items():
        module.register_forward_pre_hook(
            lambda _m, args, name=name: seen.setdefault(name, []).append(args[0].numpy())
        )
    tokenizer = checkpoint.tokenizer(folder / "dense")
    with torch.no_grad():
        model(calibration.samples(CALIBRATION, tokenizer, folder / "text.txt"))
    found = []
    for layer in range(3):
        scores = []
        for name, module in checkpoint.linears(model).items():
            if f"layers.{layer}." in name:
                inputs = seen[name][0].reshape(-1, module.weight.shape[1])
                weight = module.weight.detach().numpy()
                scores.append((np.abs(weight) * np.linalg.norm(inputs, axis=0)).ravel())
        whole = np.concatenate(scores)
        found.append(float((whole > 3 * whole.mean()).mean()))
    return found


def shares(out: Path) -> dict[str, float]:
    return {n: 1 - kept.float().mean().item() for n, kept in masks.load(out / "mask").items()}


def test_equal_to_the_published_formula(folder: Path, tmp_path: Path) -> None:
    stage.run(job(folder, tmp_path))
    d = np.array(ratios(folder))
    assert len(set(d)) == 3
    scaled = (d - d.min()) / (d.max() - d.min()) * 2 * 0.08
    expected = 0.5 - (scaled - scaled.mean())  # the layers of this model are equally large
    for name, share in shares(tmp_path).items():
        layer = int(name.split(".")[2])
        # to one weight of the smallest matrix
        assert share == pytest.approx(expected[layer], abs=1 / 2048), name


@pytest.mark.parametrize("change", [{}, {"method": "sparsegpt"}, {"sparsity": 0.75}, JOINT])
def test_the_model_has_the_sparsity_of_its_label(
    folder: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    kind = quantize if "bits" in change else stage
    kind.run(job(folder, tmp_path, **change))
    sparsity = change.get("sparsity", 0.5)
    found = shares(tmp_path)
    # a threshold prunes one weight too many in each block and matrix of SparseGPT
    assert np.mean(list(found.values())) == pytest.approx(sparsity, abs=0.02)
    assert max(found.values()) - min(found.values()) == pytest.approx(0.16, abs=0.01)
    label = {
        "sparsity": sparsity,
        "pattern": "unstructured",
        "bits": change.get("bits", 32),
        "mask": change.get("mask", "none"),
    }
    out = tmp_path / "measured"
    out.mkdir()
    measured = measure.run(Job(params=label, out=out, scratch=out, inputs={"model": tmp_path}))
    assert measured["achieved_sparsity"] == pytest.approx(sparsity, abs=2e-3)


def test_two_lambda_apart_and_the_weighted_mean_is_exact() -> None:
    found = owl.spread([0.01, 0.05, 0.02], [100, 900, 300], 0.7, 0.1)
    assert found[0] - found[1] == pytest.approx(0.2)
    assert found[0] > found[2] > found[1]
    assert np.dot(found, [100, 900, 300]) / 1300 == pytest.approx(0.7, abs=1e-12)
    assert owl.spread([0.3, 0.3], [1, 2], 0.7, 0.1) == [0.7, 0.7]


def test_a_matrix_belongs_to_its_decoder_layer() -> None:
    assert owl.decoder_layer("model.layers.3.mlp.experts.12.up_proj") == "model.layers.3"
    assert owl.decoder_layer("score") == "score"


@pytest.mark.parametrize("change", [{}, {"method": "magnitude"}, {"method": "sparsegpt"}, JOINT])
def test_every_pruner_honours_whatever_mapping_it_is_given(
    folder: Path, tmp_path: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # what another profile needs: one function that names a share for every matrix
    def table(_params: Any, _model: Any, matrices: Any, _batches: Any) -> dict[str, float]:
        return {name: [0.0, 0.25, 0.75][index % 3] for index, name in enumerate(matrices)}

    monkeypatch.setattr(oneshot, "sparsities", table)
    kind = quantize if "bits" in change else stage
    kind.run(job(folder, tmp_path, **change))
    found = shares(tmp_path)
    expected = table(
        None, None, checkpoint.linears(checkpoint.load(folder / "dense", dtype="float32")), None
    )
    assert found == pytest.approx(expected, abs=1e-3)


def test_inputs_that_are_not_finite_fail(folder: Path, tmp_path: Path) -> None:
    model = checkpoint.load(folder / "dense", dtype="float32")
    with torch.no_grad():
        model.model.layers[1].input_layernorm.weight.fill_(float("inf"))
    checkpoint.save_dense(model, folder / "dense", tmp_path / "broken", dtype="float32")
    sources = {"model": tmp_path / "broken", "calibration": folder / "text.txt"}
    with pytest.raises(StageFailure, match=r"inputs of model\.layers\.1.*compute_dtype"):
        stage.run(Job(params=PARAMS, out=tmp_path, scratch=tmp_path, sources=sources))


def test_pruned_twice_is_the_same(folder: Path, tmp_path: Path) -> None:
    weights = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        stage.run(job(folder, tmp_path / name))
        weights.append(load_file(tmp_path / name / "checkpoint/model.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pattern": "2:4"}, "prune.profile=owl: 2:4 has the same sparsity in every matrix."),
        ({"sparsity": 0.9}, "prune.owl_lambda=0.08: valid at this sparsity: 0 (uniform) to below"),
        ({"sparsity": 0.1}, "prune.owl_lambda=0.08"),
        ({"owl_lambda": -0.1}, "prune.owl_lambda=-0.1"),
        ({"owl_m": 0.0}, "prune.owl_m=0.0: valid: above 0. 5 is usual."),
    ],
)
def test_refusals(change: dict[str, Any], message: str) -> None:
    assert refuse_profile(PARAMS) is None
    for name in ("wanda", "sparsegpt"):
        assert message in str(method(name).refusal(PARAMS | change))
    assert "magnitude looks at no inputs" in str(
        method("magnitude").refusal(PARAMS | {"method": "magnitude"})
    )
