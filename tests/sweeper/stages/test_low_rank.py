"""Factors in place of matrices, through prune, quantize, measure and evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from sweeper.errors import StageFailure
from sweeper.methods.low_rank.rank import rank_of
from sweeper.modeling import checkpoint, low_rank_format
from sweeper.stages import Job, evaluate, prune
from sweeper.stages.measure.tensors import Files
from sweeper.stages.oneshot import compressed
from tests import tiny

from .conftest import PRUNE
from .removal import LINEAR, TOTAL, logits, qwen2

SVD = {"method": "svd_llm", "sparsity": 0.2, "pattern": "low-rank", "dampening": 1e-6}
ASVD = {"method": "asvd", "sparsity": 0.2, "pattern": "low-rank", "alpha": 0.5}
WHOLE_ROWS = {"method": "rtn", "group_size": -1, "mask": "none"}


def reloaded(out: Path, **how: Any) -> Any:
    return checkpoint.load(out / "checkpoint", dtype="bfloat16", **how)


@pytest.mark.parametrize("params", [SVD, ASVD])
def test_a_reload_is_the_model_that_was_in_memory(workshop: Any, params: dict[str, Any]) -> None:
    job = workshop.job(
        PRUNE | params, sources={"model": workshop.dense, "calibration": workshop.text}
    )
    with compressed(job) as (model, _):
        factors = {name: pair.bfloat16() for name, pair in low_rank_format.pairs(model).items()}
    rebuilt = checkpoint.load(workshop.dense, dtype="bfloat16")
    for name, pair in factors.items():
        rebuilt.set_submodule(name, pair)
    expected = logits(rebuilt)
    low_rank_format.adopt(model)
    checkpoint.save_dense(model, workshop.dense, job.out / "checkpoint", dtype="bfloat16")
    again = reloaded(job.out)
    assert torch.equal(logits(again), expected)
    assert again.config.model_type == "llama"
    again.save_pretrained(job.out / "twice")
    assert torch.equal(logits(low_rank_format.load(job.out / "twice")), expected)


@pytest.mark.parametrize("params", [SVD, ASVD])
def test_the_files_hold_factors_and_measure_counts_them(
    workshop: Any, params: dict[str, Any]
) -> None:
    out = workshop.prune(**params)
    tensors = load_file(out / "checkpoint" / "model.safetensors")
    rank = rank_of(192, 64, 0.2)
    assert tensors["model.layers.0.mlp.up_proj.0.weight"].shape == (rank, 64)
    assert tensors["model.layers.0.mlp.up_proj.1.weight"].shape == (192, rank)
    assert "model.layers.0.mlp.up_proj.weight" not in tensors
    found = workshop.measure(out, sparsity=0.2, pattern="low-rank", bits=16)
    factors = sum(t.numel() for n, t in tensors.items() if "proj" in n)
    assert found["linear_weights"] == LINEAR
    assert found["total_weights"] == TOTAL
    assert found["parameters"] == sum(t.numel() for t in tensors.values())
    assert found["achieved_sparsity"] == 1 - factors / LINEAR
    assert found["bits_per_weight"]["stored"] == pytest.approx(16 * factors / LINEAR)
    assert found["bytes"]["linear"] == 2 * factors
    assert found["macs"] == factors + 384 * 64
    assert found["macs_dense"] == LINEAR + 384 * 64
    assert found["rate"]["achieved"] == pytest.approx(1 - factors / LINEAR)
    assert "containment" not in found
    with pytest.raises(StageFailure, match=r"30% removed are \d+\. Build this checkpoint again"):
        workshop.measure(out, sparsity=0.3, pattern="low-rank", bits=16)


def test_plain_transformers_refuses_factors_instead_of_guessing(workshop: Any) -> None:
    out = workshop.prune(**SVD)
    with pytest.raises(ValueError, match=r"(?i)low_?rank"):
        AutoModelForCausalLM.from_pretrained(out / "checkpoint")


@pytest.mark.parametrize("bits", [8, 6])
@pytest.mark.parametrize("params", [SVD, ASVD])
def test_factors_are_rounded_and_reload(workshop: Any, params: dict[str, Any], bits: int) -> None:
    pruned = workshop.prune(**params)
    out = workshop.quantize(pruned, bits=bits, **WHOLE_ROWS)
    found = workshop.measure(out, pruned, sparsity=0.2, pattern="low-rank", bits=bits)
    kept = 1 - found["achieved_sparsity"]
    assert found["bits_per_weight"]["codes"] == pytest.approx(bits * kept)
    assert found["rate"]["achieved"] == pytest.approx(1 - bits / 16 * kept)
    assert found["layers"] == 28
    served = low_rank_format.load(
        out / "checkpoint", quantization_config=CompressedTensorsConfig(dequantize=True)
    )
    layers = checkpoint.linears(served)
    factors = load_file(pruned / "checkpoint" / "model.safetensors")
    stored = load_file(out / "checkpoint" / "model.safetensors")
    with Files(out / "checkpoint") as files:
        for matrix in files.matrices():
            scale = stored[f"{matrix.name}.weight_scale"].float()
            nearest = (factors[f"{matrix.name}.weight"].float() / scale).round()
            limit = 2 ** (bits - 1)
            assert torch.equal(matrix.symbols.float(), nearest.clamp(-limit, limit - 1))
            exact = (matrix.symbols.float() * scale).bfloat16()
            assert torch.equal(layers[matrix.name].weight, exact), matrix.name


def test_svd_llm_loses_less_of_the_outputs_than_asvd_and_more_at_a_lower_rank(
    workshop: Any,
) -> None:
    dense = logits(checkpoint.load(workshop.dense, dtype="float32"))

    def error(**params: Any) -> float:
        model = checkpoint.load(workshop.prune(**params) / "checkpoint", dtype="float32")
        return float((logits(model) - dense).norm() / dense.norm())

    errors = [error(**(SVD | {"sparsity": s})) for s in (0.1, 0.4, 0.8)]
    assert errors == sorted(errors)
    assert error(**(SVD | {"sparsity": 0.4})) < error(**(ASVD | {"sparsity": 0.4}))


def test_a_gram_matrix_that_cannot_be_factored_names_layer_and_knob(
    workshop: Any, indefinite: None
) -> None:
    with pytest.raises(
        StageFailure,
        match=r"not positive definite: model\.layers\.0\.mlp\.down_proj\. Raise prune\.dampening",
    ):
        workshop.prune(fresh=True, **SVD)


def test_inputs_that_are_not_finite_fail_asvd(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.methods.low_rank import modifier

    real = modifier.Scaled.calibrate_module
    monkeypatch.setattr(
        modifier.Scaled,
        "calibrate_module",
        lambda self, module, args, out: real(self, module, (args[0] * float("nan"),), out),
    )
    with pytest.raises(StageFailure, match=r"inputs of .*_proj are not finite.*compute_dtype"):
        workshop.prune(fresh=True, **ASVD)


def test_biases_go_with_the_outer_factor(workshop: Any, tmp_path: Path) -> None:
    source = tmp_path / "qwen2"
    qwen2(layers=2).save_pretrained(source)
    tiny.tokenizer(source)
    out = tmp_path / "out"
    out.mkdir()
    job = Job(
        params=PRUNE | SVD,
        out=out,
        scratch=out,
        sources={"model": source, "calibration": workshop.text},
    )
    prune.run(job)
    model = reloaded(out)
    pair = model.get_submodule("model.layers.1.self_attn.q_proj")
    assert pair[0].bias is None
    before = load_file(source / "model.safetensors")["model.layers.1.self_attn.q_proj.bias"]
    assert torch.equal(pair[1].bias, before)
    assert before.any()
    found = workshop.measure(out, sparsity=0.2, pattern="low-rank", bits=16)
    assert found["total_weights"] == sum(p.numel() for p in qwen2(layers=2).parameters())


@pytest.mark.parametrize("rounded", [False, True])
def test_factors_can_be_scored(workshop: Any, make_job: Any, rounded: bool) -> None:
    out = workshop.prune(**SVD)
    if rounded:
        out = workshop.quantize(out, bits=8, **WHOLE_ROWS)
    found = evaluate.run(make_job(out / "checkpoint", task="tiny_text"))
    assert found["n_docs"] > 6
    assert 1 < found["metrics"]["word_perplexity"]["value"] < 1e12
