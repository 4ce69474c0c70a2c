"""Checkpoints as people have them: float32 files, contradicting defaults, code, odd tokenizers."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GenerationConfig

from sweeper.errors import BadInput, StageFailure
from sweeper.modeling import checkpoint, integrity
from sweeper.stages import Job, evaluate, measure, prune, quantize
from sweeper.stages.evaluate import hf_backend as models
from sweeper.stages.evaluate import records, shared_prefix
from tests import tiny
from tests.planned import plan_of
from tests.sweeper.stages.conftest import COMMON, PARAMS, PRUNE, QUANTIZE

LABEL = {"sparsity": 0.0, "pattern": "unstructured", "bits": 16, "mask": "none"}
RTN: dict[str, Any] = {**QUANTIZE, "method": "rtn", "group_size": 32}


def job(tmp_path: Path, params: Mapping[str, Any], model: Path | None = None, **fields: Any) -> Job:
    out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
    out.mkdir()
    sources = {"calibration": tiny.text(tmp_path / "text.txt")}
    if model is not None:
        sources["model"] = model
    return Job(params=params, out=out, scratch=out, sources=sources, **fields)


def test_float32_files_are_a_baseline(tmp_path: Path) -> None:
    """Their rate is 0 by definition; what they take is stated."""
    model = tiny.architecture(tmp_path / "model", "llama", dtype="float32")
    found = measure.run(job(tmp_path, LABEL, model))
    assert found["rate"] == {"nominal": 0.0, "achieved": 0.0, "whole_model": 0.0}
    assert (found["bits_per_weight"]["total"], found["bits_per_weight"]["stored"]) == (16.0, 32.0)
    assert found["bytes"]["linear"] == 4 * found["linear_weights"]


@pytest.mark.parametrize("method", ["prune", "quantize"])
def test_what_is_saved_as_float32_is_what_its_label_says(tmp_path: Path, method: str) -> None:
    model = tiny.architecture(tmp_path / "model", "qwen2")
    wide: dict[str, Any] = {"save_dtype": "float32"}
    if method == "prune":
        done = job(tmp_path, {**PRUNE, **wide, "method": "magnitude", "sparsity": 0.5}, model)
        prune.run(done)
        label = LABEL | {"sparsity": 0.5}
    else:
        done = job(tmp_path, {**RTN, **wide}, model)
        quantize.run(done)
        label = LABEL | {"bits": 4}
    found = measure.run(job(tmp_path, label, inputs={"model": done.out}))
    expected = {"prune": 0.5, "quantize": 0.75}[method]
    assert found["rate"]["achieved"] == pytest.approx(expected, abs=1e-4)


BAD = {"temperature": 0.9, "top_p": 0.6, "eos_token_id": 0, "pad_token_id": 1}


@pytest.mark.parametrize("generation", [BAD, {"top_k": 5, "typical_p": 0.3, "max_new_tokens": 9}])
def test_defaults_that_contradict_themselves_cost_no_work(
    tmp_path: Path, generation: dict[str, Any]
) -> None:
    model = tiny.make(tmp_path / "model")
    (model / "generation_config.json").write_text(json.dumps(generation))
    pruned = job(tmp_path, {**PRUNE, "method": "magnitude"}, model)
    result = prune.run(pruned)
    assert "have no effect" in result["left_out"][0]
    assert {name for name in generation if name in result["left_out"][0]} == {
        name for name in generation if "_id" not in name and "max" not in name
    }
    again = job(tmp_path, RTN, inputs={"model": pruned.out})
    assert "left_out" not in quantize.run(again)
    for out in (pruned.out, again.out):
        kept = GenerationConfig.from_pretrained(out / "checkpoint")
        kept.validate(strict=True)
        for name in generation.keys() & {"eos_token_id", "pad_token_id", "max_new_tokens"}:
            assert getattr(kept, name) == generation[name]


def test_valid_defaults_are_copied_byte_for_byte(tmp_path: Path) -> None:
    model = tiny.make(tmp_path / "model")
    text = '{"do_sample": true,\n "temperature": 0.6, "eos_token_id": [0, 1]}\n'
    (model / "generation_config.json").write_text(text)
    done = job(tmp_path, {**PRUNE, "method": "magnitude"}, model)
    assert "left_out" not in prune.run(done)
    assert (done.out / "checkpoint" / "generation_config.json").read_text() == text


CODE = """
from transformers import LlamaConfig, LlamaForCausalLM
class OwnConfig(LlamaConfig):
    model_type = "{name}"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def own_code(path: Path, name: str) -> Path:
    model = tiny.make(path)
    config = json.loads((model / "config.json").read_text())
    own = {"AutoConfig": f"{name}.OwnConfig", "AutoModelForCausalLM": f"{name}.OwnModel"}
    config |= {"model_type": name, "auto_map": own, "architectures": ["OwnModel"]}
    (model / "config.json").write_text(json.dumps(config))
    (model / f"{name}.py").write_text(CODE.format(name=name))
    return model


def test_code_that_is_trusted_runs_in_every_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    model, trust = own_code(tmp_path / "model", "owncode"), {"trust_remote_code": True}
    pruned = job(tmp_path, {**PRUNE, "sparsity": 0.5, "model": trust}, model)
    prune.run(pruned)
    both = job(tmp_path, {**RTN, "model": trust}, inputs={"model": pruned.out})
    quantize.run(both)
    label = LABEL | {"sparsity": 0.5, "bits": 4, "mask": "keep", "model": trust}
    inputs = {"model": both.out, "pruned": pruned.out}
    assert measure.run(job(tmp_path, label, inputs=inputs))["layers"] == 14
    assert (both.out / "checkpoint" / "owncode.py").read_bytes() == (
        model / "owncode.py"
    ).read_bytes()
    loaded = models.load(
        both.out / "checkpoint", dtype="float32", device="cpu", trust_remote_code=True
    )
    assert type(loaded.model).__name__ == "OwnModel"


def test_every_stage_of_a_trusted_model_knows_it(tmp_path: Path) -> None:
    words = [
        "model.trust_remote_code=true",
        "prune.sparsity=50",
        "quant=rtn",
        "quant.bits=4",
        "tasks=demo",
        "tasks.names=[demo_agreement]",
    ]
    with pytest.raises(BadInput, match=r"code of its own \(own\.py\), which is not trusted"):
        plan_of(own_code(tmp_path / "model", "own"), "prune.sparsity=50")
    plan = plan_of(tiny.make(tmp_path / "plain"), *words)
    assert {stage.kind for stage in plan.stages.values()} == {
        "prune",
        "quantize",
        "measure",
        "evaluate",
    }
    assert all(s.params["model"]["trust_remote_code"] for s in plan.stages.values())


def test_a_token_beyond_the_embedding_that_no_text_holds(tmp_path: Path) -> None:
    """As of a text model whose family has images: its tokenizer knows one token more."""
    model = tiny.make(tmp_path / "model", vocab=361)
    file = model / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    rows = json.loads((model / "config.json").read_text())["vocab_size"]
    last = max(tokenizer["model"]["vocab"].values())
    extra = {
        "id": max(rows, last + 1),
        "content": "<image>",
        "special": True,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "single_word": False,
    }
    tokenizer["added_tokens"].append(extra)
    file.write_text(json.dumps(tokenizer))
    assert integrity.trouble(model) is None
    assert list(integrity.notes(model)) == [
        f"its tokenizer has <image> beyond the {rows} rows of its embedding: "
        "text that holds one cannot be used"
    ]
    prune.run(job(tmp_path, {**PRUNE, "method": "wanda"}, model))


@pytest.mark.parametrize("loader", ["compression", "scoring"])
def test_a_token_beyond_the_embedding_in_a_text_is_said(tmp_path: Path, loader: str) -> None:
    model = tiny.make(tmp_path / "model", vocab=361)
    loaded = (
        checkpoint.load(model, dtype="float32")
        if loader == "compression"
        else models.load(model, dtype="float32", device="cpu").model
    )
    with pytest.raises(StageFailure, match=r"the token 400, .* has 361 rows: take that token out"):
        loaded(torch.tensor([[3, 400]]))
    assert torch.isfinite(loaded(torch.tensor([[3, 360]])).logits).all()


def test_a_probe_that_raises_says_no(tmp_path: Path, make_job: Any) -> None:
    """BLOOM takes no mask of four dimensions."""
    model = tiny.architecture(tmp_path / "model", "bloom")
    loaded = models.load(model, dtype="float32", device="cpu")
    assert not shared_prefix.fits(loaded.model)
    shared, plain = (evaluate.run(make_job(model, shared_context=asked)) for asked in (True, False))
    assert not shared["shared_context"]
    assert shared["metrics"] == plain["metrics"]


def test_a_head_of_another_type_than_the_rest_is_cast(tmp_path: Path) -> None:
    """GPT-NeoX's head has another name in its files, and kept their type."""
    model = tiny.architecture(tmp_path / "model", "gpt_neox", tie_word_embeddings=False)
    tensors = load_file(model / "model.safetensors")
    assert "embed_out.weight" in tensors
    tensors["embed_out.weight"] = tensors["embed_out.weight"].float()
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    for loaded in (
        checkpoint.load(model, dtype="bfloat16"),
        models.load(model, dtype="bfloat16", device="cpu").model,
    ):
        assert loaded.get_output_embeddings().weight.dtype == torch.bfloat16
        assert torch.isfinite(loaded(torch.tensor([[2, 3]])).logits).all()


def test_weights_that_kept_the_type_of_their_files_are_cast(tmp_path: Path) -> None:
    """So do those of a quantized model whose language model is a part of it (Gemma 3)."""
    model = checkpoint.load(tiny.make(tmp_path / "model"), dtype="float32")
    layer = model.model.layers[0]
    layer.self_attn.q_proj.to(torch.bfloat16)
    layer.input_layernorm.to(torch.float16)
    checkpoint.cast(model, torch.float32)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    layer.input_layernorm.to(torch.float32)  # as an architecture may want it
    model.to(torch.bfloat16)
    layer.input_layernorm.to(torch.float32)
    checkpoint.cast(model, torch.bfloat16)
    assert layer.input_layernorm.weight.dtype == torch.float32


def test_factors_of_a_model_whose_head_has_another_name_in_its_files(tmp_path: Path) -> None:
    model = tiny.architecture(tmp_path / "model", "gpt_neox", tie_word_embeddings=False)
    low_rank = {"method": "svd_llm", "pattern": "low-rank", "sparsity": 0.25, "dampening": 0.1}
    factoring = job(tmp_path, {**PRUNE, **low_rank}, model)
    prune.run(factoring)
    made = factoring.out / "checkpoint"
    assert "embed_out.weight" in load_file(made / "model.safetensors")
    head = checkpoint.load(made, dtype="bfloat16").get_output_embeddings().weight
    assert torch.equal(head, load_file(model / "model.safetensors")["embed_out.weight"])


def test_probabilities_of_all_choices_are_kept_and_aggregated() -> None:
    """A Brier score needs them; lm-eval hands them over as an array."""
    from lm_eval.api.metrics import brier_score

    answers = [(0, numpy.array([0.75, 0.25])), (1, numpy.array([0.5, 0.5]))]
    kept = [records._columns("brier_score", answer) for answer in answers]
    found = [records.items(json.loads(json.dumps(one)), "brier_score") for one in kept]
    assert brier_score(found) == pytest.approx((2 * 0.25**2 + 2 * 0.5**2) / 2)


def test_weights_of_a_bare_name_only_are_not_a_model(tmp_path: Path) -> None:
    """A copy that transformers would not load is not counted as if it did."""
    model = tiny.make(tmp_path / "model")
    shutil.move(model / "model.safetensors", model / "weights.safetensors")
    with pytest.raises(BadInput, match=r"model\.safetensors \(or .*\) are needed"):
        plan_of(model, "prune.sparsity=50")
    with pytest.raises((StageFailure, OSError)):
        checkpoint.load(model, dtype="float32")
    assert COMMON["model"] == {} == PARAMS["model"]
    with pytest.raises(OSError, match="safetensors"):
        AutoModelForCausalLM.from_pretrained(model, use_safetensors=True)


def test_modes_follow_the_umask(tmp_path: Path) -> None:
    from sweeper.store import files

    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    for name, mode in (("secret", 0o600), ("script", 0o700), ("open", 0o644)):
        (folder / name).touch()
        (folder / name).chmod(mode)
    mask = files._umask()
    files.follow_umask(tmp_path)
    found = {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()}
    allowed = 0o666 & ~mask
    assert found == {"secret": allowed, "open": allowed, "script": allowed | 0o100}
