"""Quantization: masks that hold or openly do not, and files that reload to the same model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from sweeper.errors import StageFailure
from sweeper.modeling import checkpoint, masks
from sweeper.stages import Job, calibration
from sweeper.stages import oneshot as oneshots
from sweeper.stages.measure.tensors import Files

from .conftest import CALIBRATION, PRUNE, QUANTIZE


def file_of(out: Path) -> bytes:
    return (out / "checkpoint" / "model.safetensors").read_bytes()


def containment(quantized: Path, pruned: Path) -> float:
    """Lowest share, over the layers, of pruned weights that are exactly zero."""
    kept = masks.load(pruned / "mask")
    with Files(quantized / "checkpoint") as files:
        return min(m.zero[~kept[m.name]].float().mean().item() for m in files.matrices())


def zeros(out: Path) -> float:
    with Files(out / "checkpoint") as files:
        found = [(int(m.zero.sum()), m.zero.numel()) for m in files.matrices()]
    return sum(z for z, _ in found) / sum(n for _, n in found)


def test_same_bytes_twice_whatever_the_random_state(workshop: Any) -> None:
    torch.manual_seed(1)
    one = file_of(workshop.quantize(fresh=True))
    torch.manual_seed(2)
    assert file_of(workshop.quantize(fresh=True)) == one


@pytest.mark.parametrize("actorder", ["none", "static"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("pattern", "bits"), [("unstructured", 4), ("2:8", 3), ("1:3", 2)])
def test_kept_masks_hold_everywhere(
    workshop: Any, pattern: str, bits: int, symmetric: bool, actorder: str
) -> None:
    pruned = workshop.prune(pattern=pattern)
    out = workshop.quantize(pruned, mask="keep", bits=bits, symmetric=symmetric, actorder=actorder)
    assert containment(out, pruned) == 1.0


def test_stock_gptq_fills_pruned_weights_in_again(workshop: Any) -> None:
    pruned = workshop.prune(sparsity=0.5)
    ignored = workshop.quantize(pruned, mask="ignore", bits=8)
    assert containment(ignored, pruned) < 0.8
    assert zeros(ignored) < 0.5


def test_a_zero_count_proves_nothing(workshop: Any) -> None:
    pruned = workshop.prune()
    ignored = workshop.quantize(pruned, mask="ignore", bits=2)
    assert zeros(ignored) > 0.25  # as if the mask had been kept
    assert containment(ignored, pruned) < 1


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group_size", [64, 32, -1])
def test_reload_is_the_model_that_was_in_memory(
    workshop: Any, tmp_path: Path, bits: int, symmetric: bool, group_size: int
) -> None:
    params = QUANTIZE | {"bits": bits, "symmetric": symmetric, "group_size": group_size}
    sources = {"model": workshop.dense, "calibration": workshop.text}
    job = Job(params=params, out=tmp_path, scratch=tmp_path, sources=sources)
    with oneshots.compressed(job) as (model, samples):
        weights = {n: m.weight.bfloat16() for n, m in checkpoint.linears(model).items()}
        checkpoint.save_packed(model, workshop.dense, tmp_path / "checkpoint", dtype="bfloat16")
    plain = AutoModelForCausalLM.from_pretrained(workshop.dense, dtype=torch.bfloat16)
    with torch.no_grad():
        for name, module in checkpoint.linears(plain).items():
            module.weight.copy_(weights[name])
        reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint")
        found, expected = reloaded(samples[:2]).logits, plain(samples[:2]).logits
    assert reloaded.dtype == torch.bfloat16
    assert torch.isfinite(found).all()
    assert torch.equal(found, expected)


def test_through_a_saved_checkpoint_as_through_one_joint_recipe(
    workshop: Any, tmp_path: Path
) -> None:
    from llmcompressor import oneshot
    from llmcompressor.core import create_session

    from sweeper.methods.pruning.sparsegpt import METHOD as SPARSEGPT
    from sweeper.methods.quantization.gptq import METHOD as GPTQ
    from sweeper.modeling import layerwise

    model = checkpoint.load(workshop.dense, dtype="float32")
    tokenizer = checkpoint.tokenizer(workshop.dense)
    samples = calibration.samples(CALIBRATION, tokenizer, workshop.text)
    assert layerwise.NAME
    sparsities = dict.fromkeys(checkpoint.linears(model), PRUNE["sparsity"])
    with create_session():
        for method, params in (
            (SPARSEGPT, PRUNE | {"sparsities": sparsities}),
            (GPTQ, QUANTIZE | {"mask": "keep"}),
        ):
            oneshot(
                model=model,
                recipe=method.recipe(params, model),
                dataset=oneshots._batches(samples),
                processor=tokenizer,
                pipeline=layerwise.NAME,
            )
        checkpoint.save_packed(model, workshop.dense, tmp_path, dtype="bfloat16")
    saved = workshop.quantize(workshop.prune(), mask="keep")
    assert (tmp_path / "model.safetensors").read_bytes() == file_of(saved)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"actorder": "none"},
        {"symmetric": False},
        {"group_size": -1, "bits": 3},
        {"compute_dtype": "bfloat16"},
    ],
)
def test_the_exact_mask_is_kept_and_is_another_model_than_the_heuristics(
    workshop: Any, options: dict[str, Any]
) -> None:
    pruned = workshop.prune(sparsity=0.5)
    out = workshop.quantize(pruned, **({"bits": 3} | options), mask="exact")
    found = workshop.measure(out, pruned, sparsity=0.5, bits=3, mask="exact")
    assert found["containment"] == {"min": 1.0, "mean": 1.0}
    again = workshop.quantize(pruned, fresh=True, **({"bits": 3} | options), mask="exact")
    assert file_of(again) == file_of(out)
    assert file_of(out) != file_of(
        workshop.quantize(pruned, **({"bits": 3} | options), mask="keep")
    )


def test_a_row_whose_hessian_has_no_factor_fails_the_exact_mask(
    workshop: Any, request: pytest.FixtureRequest
) -> None:
    pruned = workshop.prune(sparsity=0.25)
    request.getfixturevalue("indefinite")
    with pytest.raises(StageFailure, match=r"inverted.*down_proj.*quant\.dampening"):
        workshop.quantize(pruned, fresh=True, mask="exact")


@pytest.mark.parametrize(("actorder", "recorded"), [("none", None), ("static", "static")])
def test_the_order_of_columns_is_what_was_asked_for(
    workshop: Any, actorder: str, recorded: str | None
) -> None:
    out = workshop.quantize(actorder=actorder)
    config = json.loads((out / "checkpoint" / "config.json").read_text())
    groups = config["quantization_config"]["config_groups"].values()
    assert [g["weights"]["actorder"] for g in groups] == [recorded]
    other = workshop.quantize(actorder="static" if actorder == "none" else "none")
    assert file_of(out) != file_of(other)


def test_packed_densely_and_the_rest_left_alone(workshop: Any) -> None:
    sizes = {b: len(file_of(workshop.quantize(bits=b))) for b in (2, 3, 4, 8)}
    weights = 98_304
    assert sizes[3] - sizes[2] == pytest.approx(weights / 8, abs=64)
    assert sizes[4] - sizes[3] == pytest.approx(weights / 8, abs=64)
    assert sizes[8] - sizes[4] == pytest.approx(weights / 2, abs=64)
    config = json.loads((workshop.quantize() / "checkpoint" / "config.json").read_text())
    assert not config["quantization_config"]["sparsity_config"]
    assert "lm_head" in config["quantization_config"]["ignore"]
    assert config["tie_word_embeddings"]


def test_an_uninvertible_hessian_fails_instead_of_rounding_to_nearest(
    workshop: Any, indefinite: None
) -> None:
    with pytest.raises(StageFailure) as caught:
        workshop.quantize(fresh=True)
    assert "model.layers.0.mlp.down_proj" in str(caught.value)
    assert "quant.dampening" in str(caught.value)


def test_weights_that_blow_up_fail(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeper.methods.quantization import gptq_modifier

    real = gptq_modifier.quantize_weight

    def broken(**kwargs: Any) -> tuple[torch.Tensor, ...]:
        quantized, losses, gave_up = real(**kwargs)
        return quantized / 0, losses, gave_up

    monkeypatch.setattr(gptq_modifier, "quantize_weight", broken)
    with pytest.raises(StageFailure, match=r"not finite.*q_proj.*quant\.dampening"):
        workshop.quantize(fresh=True)


def test_a_layer_that_was_left_out_fails(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeper.modeling import matrices

    ignored = ["re:.*lm_head", "re:.*layers.1.*k_proj"]
    monkeypatch.setattr(matrices, "untreated", lambda model: ignored)
    with pytest.raises(StageFailure, match=r"not quantized: model\.layers\.1\.self_attn\.k_proj"):
        workshop.quantize(fresh=True)


def test_nothing_global_is_left_behind(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmcompressor.core import active_session

    from sweeper.methods.quantization import gptq_modifier

    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    session, environment = active_session(), dict(os.environ)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    workshop.quantize(fresh=True)
    assert active_session() is session
    assert torch.equal(before, torch.get_rng_state())
    assert dict(os.environ) == environment
    assert gptq_modifier._running.get() == (False, None)


def test_bfloat16_forwards_are_another_stage_and_work(workshop: Any) -> None:
    pruned = workshop.prune(compute_dtype="bfloat16")
    out = workshop.quantize(pruned, mask="keep", compute_dtype="bfloat16")
    assert containment(out, pruned) == 1.0
    assert file_of(out) != file_of(workshop.quantize(workshop.prune(), mask="keep"))
