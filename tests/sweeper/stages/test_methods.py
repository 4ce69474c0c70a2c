"""Every other method through its whole stage: what is saved is what its label says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from sweeper.errors import StageFailure
from sweeper.methods import ByLoading, method
from sweeper.modeling import checkpoint, masks
from sweeper.stages import Job, evaluate, oneshot, prune
from sweeper.stages.measure.tensors import Files
from tests.sweeper.methods.layers import quantize_inputs

from .conftest import PARAMS, PRUNE, QUANTIZE

needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="needs pip install 'isorate[bitsandbytes]'"
)
RTN = {"method": "rtn", "bits": 4}
AWQ = {"method": "awq", "bits": 4}
NF4 = {"method": "nf4", "bits": 4, "double_quant": False}
NF4_TWICE = NF4 | {"double_quant": True}
INT8 = {"method": "llm_int8", "bits": 8, "outlier_threshold": 6.0}
SMOOTH = {"method": "smoothquant", "bits": 8, "activation_bits": 8, "smoothing": 0.5}
SMOOTH6 = SMOOTH | {"bits": 6, "activation_bits": 6}
QUANTIZERS = [
    pytest.param(RTN, id="rtn"),
    pytest.param(SMOOTH, id="smoothquant"),
    pytest.param(SMOOTH6, id="smoothquant-6"),
    pytest.param(AWQ, id="awq"),
    pytest.param(NF4, id="nf4", marks=needs_bitsandbytes),
    pytest.param(NF4_TWICE, id="nf4-double", marks=needs_bitsandbytes),
    pytest.param(INT8, id="llm_int8", marks=needs_bitsandbytes),
]
JOINT = {"method": "joint", "sparsity": 0.25, "pattern": "unstructured", "mask": "keep"}
PRUNERS = ["magnitude", "wanda"]


def label(params: Mapping[str, Any]) -> dict[str, Any]:
    """What `measure` is told of a quantizer."""
    return {name: params[name] for name in ("bits", "activation_bits") if name in params}


def saved(out: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(out / "checkpoint" / "model.safetensors")
    return found


def linear(out: Path) -> dict[str, torch.Tensor]:
    return {n: w for n, w in saved(out).items() if "proj" in n}


def logits(folder: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    with torch.no_grad():
        found: torch.Tensor = model(torch.arange(2, 42).reshape(1, -1)).logits
    return found


@pytest.mark.parametrize("name", PRUNERS)
@pytest.mark.parametrize("sparsity", [0.25, 1 / 3, 0.75])
def test_unstructured_sparsity_is_exact(workshop: Any, name: str, sparsity: float) -> None:
    out = workshop.prune(method=name, sparsity=sparsity)
    for tensor, weight in linear(out).items():
        zeros = int((weight == 0).sum())
        assert abs(zeros - weight.numel() * sparsity) <= 1, tensor
    assert workshop.measure(out, sparsity=sparsity, bits=16)["achieved_sparsity"] == (
        pytest.approx(sparsity, abs=1e-3)
    )


@pytest.mark.parametrize("name", PRUNERS)
@pytest.mark.parametrize("pattern", ["2:8", "1:3", "5:7"])
def test_every_complete_group_has_n_zeros_and_the_rest_is_dense(
    workshop: Any, name: str, pattern: str
) -> None:
    n, m = map(int, pattern.split(":"))
    out = workshop.prune(method=name, pattern=pattern, sparsity=n / m)
    for tensor, weight in linear(out).items():
        complete = weight.shape[1] - weight.shape[1] % m
        groups = (weight[:, :complete] == 0).reshape(len(weight), -1, m).sum(-1)
        assert (groups == n).all(), tensor
        assert (weight[:, complete:] != 0).all(), tensor
    measured = workshop.measure(out, sparsity=n / m, pattern=pattern, bits=16)
    assert measured["nm_valid"] == 1.0


@pytest.mark.parametrize("name", PRUNERS)
def test_what_is_kept_is_not_touched_and_the_mask_says_what_is(workshop: Any, name: str) -> None:
    dense = load_file(workshop.dense / "model.safetensors")
    out = workshop.prune(method=name, sparsity=0.5)
    kept = masks.load(out / "mask")
    assert len(kept) == 14
    for tensor, weight in saved(out).items():
        if "proj" not in tensor:
            assert torch.equal(weight, dense[tensor])
            continue
        mask = kept[tensor.removesuffix(".weight")]
        assert torch.equal(mask, weight != 0)
        assert torch.equal(weight[mask], dense[tensor][mask])


@pytest.mark.parametrize("name", PRUNERS)
def test_pruned_twice_is_the_same(workshop: Any, name: str) -> None:
    one, two = (workshop.prune(method=name, fresh=True) for _ in range(2))
    assert (one / "checkpoint/model.safetensors").read_bytes() == (
        two / "checkpoint/model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("name", PRUNERS)
def test_bfloat16_forwards_work(workshop: Any, name: str) -> None:
    out = workshop.prune(method=name, compute_dtype="bfloat16", pattern="2:8")
    assert workshop.measure(out, sparsity=0.25, pattern="2:8", bits=16)["nm_valid"] == 1.0


def test_only_what_is_calibrated_reads_text(workshop: Any, tmp_path: Path) -> None:
    tokens = {name: workshop.results[workshop.prune(method=name)] for name in PRUNERS}
    assert tokens["magnitude"]["calibration_tokens"] == 0
    assert tokens["wanda"]["calibration_tokens"] == 8 * 64
    text_free = {k: v for k, v in PRUNE.items() if k != "calibration"} | {"method": "magnitude"}
    seen: list[str] = []
    job = Job(
        params=text_free,
        out=tmp_path,
        scratch=tmp_path,
        sources={"model": workshop.dense},
        progress=lambda fraction, note="": seen.append(note),
    )
    assert prune.run(job)["layers"] == 14
    assert seen == ["layer 1/2", "layer 2/2"]


def test_wanda_refuses_inputs_that_are_not_finite(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.methods.pruning import score_modifier

    real = score_modifier.Wanda.calibrate_module
    monkeypatch.setattr(
        score_modifier.Wanda,
        "calibrate_module",
        lambda self, module, args, out: real(self, module, (args[0] * float("inf"),), out),
    )
    with pytest.raises(StageFailure, match=r"inputs of .*_proj are not finite.*compute_dtype"):
        workshop.prune(method="wanda", fresh=True)


@pytest.mark.parametrize(
    "params", [*QUANTIZERS, pytest.param({}, id="gptq"), pytest.param(JOINT, id="joint")]
)
def test_reload_is_the_model_that_was_in_memory(workshop: Any, params: Mapping[str, Any]) -> None:
    job = workshop.job(
        QUANTIZE | params, sources={"model": workshop.dense, "calibration": workshop.text}
    )
    how, out = method(job.params["method"]), job.out / "checkpoint"
    if isinstance(how, ByLoading):
        model = checkpoint.load(
            workshop.dense, dtype="bfloat16", quantization=how.loading(job.params)
        )
        checkpoint.save_as_it_is(model, workshop.dense, out)
    else:
        with oneshot.compressed(job) as (packed, _):
            weights = {n: w.detach().bfloat16() for n, w in packed.named_parameters()}
            checkpoint.save_packed(packed, workshop.dense, out, dtype="bfloat16")
        model = checkpoint.load(workshop.dense, dtype="bfloat16")
        # scales and zero points are in the weights already
        assert not model.load_state_dict(weights, strict=False).missing_keys[1:]
        if "activation_bits" in params:
            quantize_inputs(model, params["activation_bits"])
    with torch.no_grad():
        expected = model(torch.arange(2, 42).reshape(1, -1)).logits
    found = logits(out)
    assert torch.isfinite(found).all()
    assert torch.equal(found, expected)
    assert not torch.equal(found, logits(workshop.dense))


@pytest.mark.parametrize("params", QUANTIZERS)
def test_quantized_twice_is_the_same(workshop: Any, params: Mapping[str, Any]) -> None:
    one, two = (workshop.quantize(fresh=True, **params) for _ in range(2))
    assert (one / "checkpoint/model.safetensors").read_bytes() == (
        two / "checkpoint/model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("params", QUANTIZERS)
@pytest.mark.parametrize("pattern", ["unstructured", "1:3"])
def test_pruned_weights_stay_zero(workshop: Any, params: Mapping[str, Any], pattern: str) -> None:
    sparsity = 0.5 if pattern == "unstructured" else 1 / 3
    pruned = workshop.prune(pattern=pattern, sparsity=sparsity)
    out = workshop.quantize(pruned, mask="keep", **params)
    found = workshop.measure(
        out, pruned, sparsity=sparsity, pattern=pattern, mask="keep", **label(params)
    )
    assert found["containment"] == {"min": 1.0, "mean": 1.0}
    assert found["zeros"] > found["achieved_sparsity"]  # small weights round to zero as well


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 8])
def test_rounding_to_nearest_keeps_zeros_on_every_grid(
    workshop: Any, bits: int, symmetric: bool
) -> None:
    pruned = workshop.prune(sparsity=0.5)
    out = workshop.quantize(pruned, method="rtn", bits=bits, symmetric=symmetric, mask="keep")
    found = workshop.measure(out, pruned, sparsity=0.5, bits=bits, mask="keep")
    assert found["containment"]["min"] == 1.0


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_each_code_is_the_nearest_on_the_grid_that_is_saved(
    workshop: Any, bits: int, compute: str
) -> None:
    # the trap: packed from bfloat16 weights, some 8-bit codes are one off
    out = workshop.quantize(method="rtn", bits=bits, compute_dtype=compute)
    dense, stored = load_file(workshop.dense / "model.safetensors"), saved(out)
    limit = 2 ** (bits - 1)
    with Files(out / "checkpoint") as files:
        for matrix in files.matrices():
            weight = dense[f"{matrix.name}.weight"].float()
            scale = stored[f"{matrix.name}.weight_scale"].float()
            scale = scale.repeat_interleave(weight.shape[1] // scale.shape[1], dim=1)
            expected = (weight / scale).round().clamp(-limit, limit - 1)
            assert torch.equal(matrix.symbols.float(), expected), matrix.name


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("pattern", ["unstructured", "2:8", "1:3"])
def test_the_joint_pass_is_what_its_label_says(workshop: Any, pattern: str, bits: int) -> None:
    sparsity = 1 / 3 if pattern == "1:3" else 0.25
    amount = {"sparsity": sparsity, "pattern": pattern}
    out = workshop.quantize(**(JOINT | amount), bits=bits)
    found = workshop.measure(out, **amount, bits=bits, mask="keep")
    assert found["containment"] == {"min": 1.0, "mean": 1.0}
    assert found["zeros"] > found["achieved_sparsity"]
    assert found["achieved_sparsity"] == pytest.approx(sparsity, abs=4e-3)
    kept = masks.load(out / "mask")
    with Files(out / "checkpoint") as files:
        matrices = list(files.matrices())
    assert all(m.zero[~kept[m.name]].all() for m in matrices)
    assert any(m.zero[kept[m.name]].any() for m in matrices) or bits == 8


def test_the_joint_pass_twice_is_the_same_and_reloads(workshop: Any) -> None:
    one, two = (workshop.quantize(fresh=True, **JOINT) for _ in range(2))
    for file in ("checkpoint/model.safetensors", "mask/mask.safetensors"):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    assert torch.isfinite(logits(one / "checkpoint")).all()


def test_an_uninvertible_hessian_fails_the_joint_pass(workshop: Any, indefinite: None) -> None:
    with pytest.raises(
        StageFailure, match=r"inverted.*layers\.0\.mlp\.down_proj.*quant\.dampening"
    ):
        workshop.quantize(fresh=True, **JOINT)


STORED = [
    pytest.param(RTN, 4 + 16 / 64, 0.06, id="rtn"),
    pytest.param(SMOOTH, 8 + 16 * 640 / 49_152, 0.01, id="smoothquant"),
    # codes of 6 bits lie in bytes
    pytest.param(SMOOTH6, 8 + 16 * 640 / 49_152, 0.01, id="smoothquant-6"),
    # a scale of 32 bit for 64 weights, or for each of the 640 rows of a layer; NF4 has a
    # codebook and its description beside them, which only small matrices notice
    pytest.param(NF4, 4 + 32 / 64, 0.35, id="nf4", marks=needs_bitsandbytes),
    pytest.param(INT8, 8 + 32 * 640 / 49_152, 0.01, id="llm_int8", marks=needs_bitsandbytes),
]


@pytest.mark.parametrize(("params", "bits", "slack"), STORED)
def test_bits_and_bytes_are_counted_on_the_files(
    workshop: Any, params: Mapping[str, Any], bits: float, slack: float
) -> None:
    out = workshop.quantize(**params)
    found = workshop.measure(out, **label(params))
    size = (out / "checkpoint/model.safetensors").stat().st_size
    assert found["bytes"]["checkpoint"] == size
    assert bits <= found["bits_per_weight"]["stored"] <= bits + slack
    assert found["linear_weights"] == 98_304
    assert found["total_weights"] == 98_304 + 384 * 64 + 5 * 64
    with pytest.raises(StageFailure, match="weights are not stored with 3 bits"):
        workshop.measure(out, bits=3)


def test_awq_needs_a_mapping(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # the trap: without one, llm-compressor rounds to nearest under the name of AWQ
    from sweeper.methods.quantization import awq_modifier

    monkeypatch.setattr(awq_modifier.AWQScaling, "_set_resolved_mappings", lambda *_: None)
    with pytest.raises(StageFailure, match=r"scaled nothing before any layer.*quant=gptq"):
        workshop.quantize(fresh=True, **AWQ)


def test_awq_refuses_outputs_that_are_not_finite(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.methods.quantization import awq_modifier

    nan = [torch.full((1, 2), float("nan"))]
    monkeypatch.setattr(awq_modifier.AWQScaling, "_run_samples", lambda *_: nan)
    with pytest.raises(StageFailure, match=r"after model\.layers\.0.* are not finite"):
        workshop.quantize(fresh=True, **AWQ)


@pytest.mark.parametrize("params", [AWQ, RTN, SMOOTH])
def test_bfloat16_forwards_work_for_quantizers(workshop: Any, params: Mapping[str, Any]) -> None:
    out = workshop.quantize(compute_dtype="bfloat16", **params)
    assert workshop.measure(out, **label(params))["layers"] == 14


@needs_bitsandbytes
def test_double_quantization_saves_scales(workshop: Any) -> None:
    once, twice = (
        workshop.measure(workshop.quantize(**p), bits=4)["bits_per_weight"]["scales"]
        for p in (NF4, NF4_TWICE)
    )
    assert once == 0.5
    assert twice == pytest.approx(0.127, abs=0.01)  # (8 + 32 / 256) / 64


@needs_bitsandbytes
@pytest.mark.parametrize("params", [NF4, NF4_TWICE, INT8])
def test_codes_are_read_as_bitsandbytes_reads_them(
    workshop: Any, params: Mapping[str, Any]
) -> None:
    from bitsandbytes.functional import dequantize_4bit

    out = workshop.quantize(workshop.prune(sparsity=0.5), mask="keep", **params) / "checkpoint"
    layers = checkpoint.linears(AutoModelForCausalLM.from_pretrained(out, dtype=torch.bfloat16))
    with Files(out) as files:
        for matrix in files.matrices():
            weight = layers[matrix.name].weight
            if params["method"] == "nf4":
                expected = dequantize_4bit(weight.data, weight.quant_state) == 0
            else:
                expected = weight.data == 0
            assert torch.equal(matrix.zero, expected), matrix.name
            assert matrix.bits == params["bits"]


@needs_bitsandbytes
@pytest.mark.parametrize("params", [NF4, INT8])
def test_a_block_or_row_of_zeros_is_no_trouble(
    workshop: Any, params: Mapping[str, Any], tmp_path: Path
) -> None:
    source = tmp_path / "pruned"
    model = checkpoint.load(workshop.dense, dtype="bfloat16")
    for module in checkpoint.linears(model).values():
        module.weight.data[3] = 0
        module.weight.data[5, :64] = 0
    checkpoint.save_dense(model, workshop.dense, source / "checkpoint", dtype="bfloat16")
    out = workshop.quantize(source, mask="keep", **params)
    assert workshop.measure(out, bits=params["bits"])["layers"] == 14
    assert torch.isfinite(logits(out / "checkpoint")).all()


@needs_bitsandbytes
@pytest.mark.parametrize("params", [NF4, INT8])
def test_the_head_is_left_alone_and_the_configuration_says_how(
    workshop: Any, params: Mapping[str, Any]
) -> None:
    folder = workshop.quantize(**params) / "checkpoint"
    stored = json.loads((folder / "config.json").read_text())
    assert stored["quantization_config"]["quant_method"] == "bitsandbytes"
    assert stored["tie_word_embeddings"]
    embedding = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(
        embedding, load_file(workshop.dense / "model.safetensors")["model.embed_tokens.weight"]
    )


@needs_bitsandbytes
def test_a_layer_that_was_left_out_fails(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    how = method("nf4")
    assert isinstance(how, ByLoading)
    config = how.loading(QUANTIZE | NF4)
    config.llm_int8_skip_modules = ["lm_head", "model.layers.1.self_attn.k_proj"]
    monkeypatch.setattr(how, "loading", lambda params: config)
    with pytest.raises(StageFailure, match=r"not quantized: model\.layers\.1\.self_attn\.k_proj"):
        workshop.quantize(fresh=True, **NF4)


TASK = """task: tiny_choice
dataset_path: json
dataset_kwargs:
  data_files:
    test: DATA
test_split: test
output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_choice: ["fox", "dog"]
doc_to_target: label
metric_list:
  - metric: acc
metadata:
  version: 1.0
"""


@pytest.mark.parametrize("params", QUANTIZERS)
def test_it_can_be_scored(workshop: Any, params: Mapping[str, Any], tmp_path: Path) -> None:
    data = tmp_path / "items.jsonl"
    items = [{"text": f"the {w}", "label": i % 2} for i, w in enumerate(["quick", "lazy"] * 4)]
    data.write_text("".join(json.dumps(item) + "\n" for item in items))
    (tmp_path / "tiny_choice.yaml").write_text(TASK.replace("DATA", str(data)))
    job = workshop.job(
        PARAMS | {"dtype": "bfloat16", "block": 8},
        inputs={"model": workshop.quantize(**params)},
        sources={"tasks": tmp_path},
    )
    found = evaluate.run(job)
    assert found["n_docs"] == 8
    assert 0 <= found["metrics"]["acc"]["value"] <= 1
