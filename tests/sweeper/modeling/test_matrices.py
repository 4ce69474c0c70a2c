"""One list of the matrices that count, for planning, the layer walk, schemes and `measure`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sweeper.errors import BadInput, StageFailure
from sweeper.inputs import look
from sweeper.modeling import checkpoint, layerwise, shapes, trace
from sweeper.stages import Job, measure, prune, quantize
from sweeper.stages.measure.tensors import Files
from tests import tiny
from tests.planned import plan_of
from tests.sweeper.stages.conftest import PRUNE, QUANTIZE

Make = Callable[..., Path]

GRID: dict[str, Any] = {**QUANTIZE, "method": "rtn", "group_size": 32, "symmetric": True}
LABEL = {"sparsity": 0.0, "pattern": "unstructured", "bits": 16, "mask": "none"}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Tiny models, each made once."""
    made: dict[str, Path] = {}

    def one(kind: str, **own: Any) -> Path:
        key = f"{kind} {own}"
        if key not in made:
            made[key] = tiny.architecture(tmp_path_factory.mktemp(kind) / "model", kind, **own)
        return made[key]

    return one


def job(tmp_path: Path, model: Path, params: dict[str, Any]) -> Job:
    out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    out.mkdir()
    text = tiny.text(tmp_path / "text.txt")
    return Job(params=params, out=out, scratch=out, sources={"model": model, "calibration": text})


@pytest.mark.parametrize(
    ("kind", "own", "count"),
    [
        ("llama", {}, 2 * 7),
        ("opt", {"word_embed_proj_dim": 32}, 2 * 6),
        ("bloom", {}, 2 * 4),
        ("gpt_neox", {"tie_word_embeddings": False}, 2 * 4),
        ("phi3", {}, 2 * 4),
    ],
)
def test_all_four_places_name_the_same(make: Make, kind: str, own: Any, count: int) -> None:
    model = make(kind, **own)
    planned = shapes.from_checkpoint(model, look.at(model).matrices).linear
    loaded = checkpoint.load(model, dtype="float32")
    walked = {id(m) for layer in layerwise.decoder_layers(loaded) for m in layer.modules()}
    found = checkpoint.linears(loaded)
    with Files(model) as files:
        measured = {matrix.name: tuple(matrix.zero.shape) for matrix in files.matrices()}
    assert len(found) == count
    assert dict(planned) == measured == {n: tuple(m.weight.shape) for n, m in found.items()}
    assert all(id(module) in walked for module in found.values())


def test_what_lies_beside_the_decoder_layers_stays_dense(make: Make, tmp_path: Path) -> None:
    """Projections in and out of the embedding once got scales that nobody had set."""
    model = make("opt", word_embed_proj_dim=32)
    outside = ("model.decoder.project_in", "model.decoder.project_out")
    assert set(look.at(model).outside) == set(outside)
    before, files = load_file(model / "model.safetensors"), []
    for _ in range(2):
        done = job(tmp_path, model, GRID)
        quantize.run(done)
        files.append((done.out / "checkpoint" / "model.safetensors").read_bytes())
        after = load_file(done.out / "checkpoint" / "model.safetensors")
        for name in outside:
            assert torch.equal(after[f"{name}.weight"], before[f"{name}.weight"])
    assert files[0] == files[1]
    found = measure.run(
        Job(params=LABEL | {"bits": 4}, out=tmp_path, scratch=tmp_path, inputs={"model": done.out})
    )
    assert found["layers"] == 12
    assert found["linear_weights"] == 2 * (4 * 64 * 64 + 2 * 64 * 128)
    total = sum(t.numel() for t in before.values())
    assert found["total_weights"] == total  # the projections count among what stays


@pytest.mark.parametrize(
    ("kind", "words", "reason"),
    [
        ("gpt2", "prune.sparsity=50", "its matrices are Conv1D, stored transposed"),
        ("mixtral", "prune.sparsity=50", "its experts are held as one tensor"),
        ("qwen3_moe", "quant=rtn quant.bits=4", "its experts are held as one tensor"),
        ("olmoe", "prune=wanda prune.sparsity=50", "its experts are held as one tensor"),
        ("falcon", "quant=rtn quant.bits=4", "its matrices are FalconLinear"),
        ("falcon", "quant=nf4", "its matrices are FalconLinear"),
    ],
)
def test_what_no_method_can_treat_is_refused_while_planning(
    make: Make, kind: str, words: str, reason: str
) -> None:
    with pytest.raises(BadInput, match=reason):
        plan_of(make(kind), *words.split())


def test_one_model_that_cannot_be_treated_leaves_the_others(make: Make) -> None:
    both = f"model.id={make('gpt2')},{make('qwen2')}"
    plan = plan_of(make("qwen2"), both, "prune.sparsity=0,50")
    labels = [(cell.cell.model["id"], cell.label) for cell in plan.cells]
    assert labels == [
        (str(make("gpt2")), "dense"),
        (str(make("qwen2")), "dense"),
        (str(make("qwen2")), "50%"),
    ]
    assert [str(item.reason) for item in plan.dropped if "Conv1D" in item.reason]


@pytest.mark.parametrize("kind", ["gpt2", "mixtral"])
def test_a_dense_model_that_cannot_be_treated_is_measured(
    make: Make, kind: str, tmp_path: Path
) -> None:
    """All matrices of its decoder layers count; the router of experts does not."""
    found = measure.run(job(tmp_path, make(kind), LABEL))
    stored = load_file(make(kind) / "model.safetensors")
    beside = ("embed", "wte", "wpe", "lm_head", "gate.weight", "router")
    expected = sum(
        t.numel() for n, t in stored.items() if t.ndim > 1 and not any(b in n for b in beside)
    )
    assert found["linear_weights"] == expected
    assert found["total_weights"] == sum(t.numel() for t in stored.values())


def test_a_stage_says_it_too(make: Make, tmp_path: Path) -> None:
    """A hub model that was not here while planning is looked at by the stage."""
    with pytest.raises(StageFailure, match="GPT2LMHeadModel cannot be compressed: its matrices"):
        prune.run(job(tmp_path, make("gpt2"), {**PRUNE, "method": "magnitude"}))


def test_memory_that_nobody_set_is_never_saved(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.methods.quantization import rtn_modifier as _nearest

    rounded = _nearest.Nearest._round

    def all_but_one(self: Any, module: Any, args: Any) -> None:
        if module.weight.shape != (64, 128):  # the down projections
            rounded(self, module, args)

    monkeypatch.setattr(_nearest.Nearest, "_round", all_but_one)
    monkeypatch.setattr(_nearest.QuantizationModifier, "on_sequential_epoch_end", lambda *a, **k: 0)
    with pytest.raises(StageFailure, match=r"not quantized: .*layers\.0\.mlp"):
        quantize.run(job(tmp_path, make("llama"), GRID))


def test_names_of_older_files_are_those_of_the_model(make: Make, tmp_path: Path) -> None:
    """Files that lack the prefix of the head, as those of a bare model do."""
    from safetensors.torch import save_file

    model, bare = make("bloom"), tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (bare / name).write_bytes((model / name).read_bytes())
    tensors = load_file(model / "model.safetensors")
    old = {name.removeprefix("transformer."): t for name, t in tensors.items()}
    save_file(old, bare / "model.safetensors", metadata={"format": "pt"})
    with Files(bare) as files, Files(model) as whole:
        assert [m.name for m in files.matrices()] == [m.name for m in whole.matrices()]
    assert shapes.from_checkpoint(bare, look.at(bare).matrices) == shapes.from_checkpoint(
        model, look.at(model).matrices
    )


def test_a_look_is_taken_once(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    look._at.cache_clear()
    first = look.at(make("qwen2"))
    look._at.cache_clear()
    monkeypatch.setattr(look, "_taken", lambda *_: pytest.fail("it was looked at again"))
    assert look.at(make("qwen2")) == first
    (kept,) = (tmp_path / "isorate" / "looks").iterdir()
    assert json.loads(kept.read_text())["architecture"] == "Qwen2ForCausalLM"
    look._at.cache_clear()


def test_readers_of_norms_are_seen_without_weights(make: Make) -> None:
    """And are the same on the model itself."""
    model = make("gemma2")
    found = look.at(model).norms
    assert found == trace.of(checkpoint.load(model, dtype="float32")).norms
    assert found is not None
    assert {name.split(".")[-1]: [n.split(".")[-1] for n in by] for name, by in found.items()} == {
        "input_layernorm": ["q_proj", "k_proj", "v_proj"],
        "pre_feedforward_layernorm": ["gate_proj", "up_proj"],
    }
