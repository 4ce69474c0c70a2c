"""SmoothQuant: the published scales, a model that means the same, and inputs really in 8 bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace as Some
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sweeper.errors import StageFailure
from sweeper.methods.quantization import smoothquant_modifier
from sweeper.methods.quantization.smoothquant import METHOD
from sweeper.modeling import checkpoint, trace
from sweeper.stages import Job, calibration, evaluate, measure, quantize
from sweeper.stages.evaluate import hf_backend as models
from tests import rounding, tiny
from tests.sweeper.stages.conftest import PARAMS as SCORING

from .layers import quantize_inputs

PARAMS: dict[str, Any] = {
    "method": "smoothquant",
    "bits": 8,
    "activation_bits": 8,
    "smoothing": 0.5,
    "mask": "none",
    "model": {},
    "calibration": {"samples": 4, "length": 64, "seed": 0},
    "compute_dtype": "float32",
    "save_dtype": "float32",
}
LABEL = {"sparsity": 0.0, "pattern": "unstructured", "bits": 8, "mask": "none"}
NORM = "model.layers.0.post_attention_layernorm"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose inputs have outliers, as a language model's have, and a text."""
    folder = tmp_path_factory.mktemp("smoothquant")
    dense = tiny.make(folder / "plain")
    tiny.text(folder / "text.txt")
    model = checkpoint.load(dense, dtype="float32")
    with torch.no_grad():
        for layer in model.model.layers:
            random = torch.Generator().manual_seed(1)
            uneven = torch.exp(2 * torch.randn(64, generator=random))
            layer.post_attention_layernorm.weight.copy_(uneven)
            layer.input_layernorm.weight.copy_(uneven)
    checkpoint.save_dense(model, dense, folder / "dense", dtype="float32")
    return folder


def smoothed(folder: Path, name: str, **params: Any) -> Path:
    out = folder / name
    if not out.exists():
        out.mkdir()
        sources = {"model": folder / "dense", "calibration": folder / "text.txt"}
        quantize.run(Job(params=PARAMS | params, out=out, scratch=out, sources=sources))
    return out / "checkpoint"


def largest_inputs(folder: Path) -> np.ndarray:
    model = checkpoint.load(folder / "dense", dtype="float32")
    seen: list[torch.Tensor] = []
    model.model.layers[0].mlp.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    text = folder / "text.txt"
    samples = calibration.samples(
        PARAMS["calibration"], checkpoint.tokenizer(folder / "dense"), text
    )
    with torch.no_grad():
        model(samples)
    return np.abs(seen[0].reshape(-1, 64).numpy()).max(0)


@pytest.mark.parametrize("strength", [0.5, 0.8])
def test_the_scales_are_the_published_ones(folder: Path, strength: float) -> None:
    before = load_file(folder / "dense/model.safetensors")
    out = smoothed(folder, f"strength{strength}", smoothing=strength)
    after = load_file(out / "model.safetensors")
    prefix = "model.layers.0.mlp"
    weights = np.stack([before[f"{prefix}.{n}.weight"].numpy() for n in ("gate_proj", "up_proj")])
    widest = np.abs(weights).max((0, 1))
    expected = largest_inputs(folder) ** strength / widest ** (1 - strength)  # eq. 4
    # attention before it is quantized already, as it will be when the model is served
    found = (before[f"{NORM}.weight"] / after[f"{NORM}.weight"]).numpy()
    assert np.allclose(found, expected, rtol=0.02)
    # and the matrices after it are the products, rounded to nearest row by row
    product = weights[0] * found
    scale = after[f"{prefix}.gate_proj.weight_scale"].numpy()
    assert np.allclose(scale[:, 0], np.abs(product).max(1) / 127.5, rtol=1e-5)
    codes = np.clip(np.round(product / scale), -128, 127)
    assert (codes == after[f"{prefix}.gate_proj.weight"].numpy()).mean() > 0.999


def test_channels_without_inputs_or_weights_are_no_trouble() -> None:
    inputs, weights = torch.tensor([0.0, 4.0, 4.0]), torch.tensor([1.0, 0.0, 1.0])
    assert smoothquant_modifier.scales(inputs, weights, 0.5).tolist() == [1.0, 4.0, 2.0]


@pytest.mark.parametrize("save_dtype", ["float32", "bfloat16"])
def test_smoothing_alone_does_not_change_the_model(
    folder: Path, save_dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.methods.quantization import rtn_modifier
    from sweeper.stages import oneshot

    def unrounded(self: Any, module: Any, args: Any) -> None:
        assert module.weight.dtype == torch.float32

    monkeypatch.setattr(rtn_modifier.Nearest, "_round", unrounded)
    sources = {"model": folder / "dense", "calibration": folder / "text.txt"}
    job = Job(
        params=PARAMS | {"save_dtype": save_dtype}, out=folder, scratch=folder, sources=sources
    )
    ids = torch.arange(2, 42).reshape(1, -1)
    with oneshot.compressed(job) as (model, _), torch.no_grad():
        for module in model.modules():
            module.quantization_enabled = False
        found = model(ids).logits
        norm = model.model.layers[0].input_layernorm.weight
    dense = checkpoint.load(folder / "dense", dtype="float64")
    exact, errors = rounding.drawn(lambda: dense(ids).logits, 3)
    assert rounding.within(found - exact, errors)
    assert not torch.allclose(norm, dense.model.layers[0].input_layernorm.weight.float(), rtol=0.1)


TASK = """task: tiny_text
dataset_path: json
dataset_kwargs:
  data_files:
    test: DATA
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - metric: word_perplexity
metadata:
  version: 1.0
"""


def perplexity(model: Path, folder: Path) -> float:
    data = folder / "items.jsonl"
    data.write_text("".join(json.dumps({"text": t}) + "\n" for t in tiny.sentences(8, seed=5)))
    (folder / "tiny_text.yaml").write_text(TASK.replace("DATA", str(data)))
    params = SCORING | {"task": "tiny_text", "block": 8}
    out = folder / f"scores{len(list(folder.glob('scores*')))}"
    out.mkdir()
    job = Job(params=params, out=out, scratch=out, sources={"model": model, "tasks": folder})
    value: float = evaluate.run(job)["metrics"]["word_perplexity"]["value"]
    return value


def weights_only(folder: Path) -> Path:
    """The same codes and scales under a configuration that leaves inputs alone."""
    out = folder / "weights_only"
    shutil.copytree(smoothed(folder, "w8a8"), out)
    config = json.loads((out / "config.json").read_text())
    for group in config["quantization_config"]["config_groups"].values():
        group["input_activations"] = None
    (out / "config.json").write_text(json.dumps(config))
    return out


def test_scores_are_those_of_quantized_inputs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the trap: a loader that only restores the weights scores W8A16 under the name of W8A8
    found = perplexity(smoothed(folder, "w8a8"), folder)
    alone = weights_only(folder)
    unquantized_inputs = perplexity(alone, folder)
    assert found != pytest.approx(unquantized_inputs, rel=1e-6)
    real = models.load

    def reference(*args: Any, **kwargs: Any) -> Any:
        loaded = real(*args, **kwargs)
        quantize_inputs(loaded.model)
        return loaded

    monkeypatch.setattr(models, "load", reference)
    expected = perplexity(alone, folder)
    assert found == pytest.approx(expected, rel=1e-6)


def test_smoothing_helps_where_inputs_have_outliers(folder: Path) -> None:
    ids = torch.arange(2, 42).reshape(1, -1)
    with torch.no_grad():
        exact = checkpoint.load(folder / "dense", dtype="float32")(ids).logits
        errors = [
            (
                models._model(smoothed(folder, name, smoothing=s), "float32", "cpu")(ids).logits
                - exact
            )
            .norm()
            .item()
            for name, s in (("w8a8", 0.5), ("unsmoothed", 0.0))
        ]
    assert errors[0] < 0.7 * errors[1]


def test_measure_proves_the_bits_of_the_inputs(folder: Path, tmp_path: Path) -> None:
    sources = {"model": smoothed(folder, "w8a8")}
    job = Job(
        params=LABEL | {"activation_bits": 8}, out=tmp_path, scratch=tmp_path, sources=sources
    )
    found = measure.run(job)
    assert found["activation_bits"] == 8
    assert found["rate"]["nominal"] == 0.5  # weights alone, as the rate is defined
    with pytest.raises(StageFailure, match="inputs of matrices are quantized to 8 bits"):
        measure.run(Job(params=LABEL, out=tmp_path, scratch=tmp_path, sources=sources))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: m.setattr(trace, "of", lambda _: Some(norms={})),
            "no matrix of LlamaForCausalLM",
        ),
        (
            lambda m: m.setattr(
                smoothquant_modifier.Smoothing, "_listener", lambda *_: lambda *_: None
            ),
            r"smoothed nothing after model\.layers\.0\.input_layernorm",
        ),
        (
            lambda m: m.setattr(
                smoothquant_modifier, "_divide", lambda _norm, scale, _dtype: scale
            ),
            "not in proportion to its weight",
        ),
    ],
)
def test_a_model_that_cannot_be_smoothed_fails(
    folder: Path, change: Any, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change(monkeypatch)
    sources = {"model": folder / "dense", "calibration": folder / "text.txt"}
    with pytest.raises(StageFailure, match=message):
        quantize.run(Job(params=PARAMS, out=tmp_path, scratch=tmp_path, sources=sources))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 4}, "quant.bits=4: smoothquant, valid: 6, 8."),
        (
            {"activation_bits": 16},
            "quant.activation_bits=16: smoothquant quantizes inputs too, "
            "valid: 6, 8. For 16-bit inputs use quant=gptq, awq or rtn.",
        ),
        ({"smoothing": 1.5}, "quant.smoothing=1.5: valid: 0 (all difficulty stays"),
        (
            {"architecture": "GPT2LMHeadModel", "norms": {}},
            "quant.method=smoothquant: no matrix of GPT2LMHeadModel reads the output of a norm",
        ),
    ],
)
def test_refusals(change: dict[str, Any], message: str) -> None:
    params = PARAMS | {"shapes": {"model.layers.0.self_attn.q_proj": (64, 64)}}
    assert METHOD.refusal(params) is None
    assert METHOD.refusal(PARAMS) is None
    assert message in str(METHOD.refusal(params | change))


def test_codes_of_six_bits_lie_in_bytes_and_must_fit(folder: Path, tmp_path: Path) -> None:
    six = PARAMS | {"bits": 6, "activation_bits": 6}
    sources = {"model": folder / "dense", "calibration": folder / "text.txt"}
    quantize.run(Job(params=six, out=tmp_path, scratch=tmp_path, sources=sources))
    label = LABEL | {"bits": 6, "activation_bits": 6}
    out = tmp_path / "measured"
    out.mkdir()
    job = Job(params=label, out=out, scratch=out, inputs={"model": tmp_path})
    assert measure.run(job)["bits_per_weight"]["stored"] > 8
    file = tmp_path / "checkpoint" / "model.safetensors"
    tensors = load_file(file)
    codes = tensors["model.layers.0.mlp.up_proj.weight"]
    assert int(codes.abs().max()) <= 32
    codes[0, 0] = 33
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(StageFailure, match=r"not stored with 6 bits in model\.layers\.0\.mlp\.up"):
        measure.run(job)
