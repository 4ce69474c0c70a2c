"""Parameters that are taken out: low rank and depth, through prune, quantize, measure, evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    CompressedTensorsConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from sweeper.errors import StageFailure
from sweeper.methods._blocks import block_influence, greedy
from sweeper.methods._rank import rank_of
from sweeper.stages import Job, chain, checkpoint, depth, evaluate, factored, prune
from sweeper.stages.compress import compressed
from sweeper.stages.weights import Files
from tests import tiny

from .conftest import CALIBRATION, PRUNE

LINEAR, TOTAL = 98_304, 98_304 + 384 * 64 + 5 * 64
SVD = {"method": "svd_llm", "sparsity": 0.2, "pattern": "low-rank", "dampening": 1e-6}
ASVD = {"method": "asvd", "sparsity": 0.2, "pattern": "low-rank", "alpha": 0.5}
WHOLE_ROWS = {"method": "rtn", "group_size": -1, "mask": "none"}
IDS = torch.arange(2, 42).reshape(1, -1)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(IDS, use_cache=False).logits
    return found


def reloaded(out: Path, **how: Any) -> Any:
    return checkpoint.load(out / "checkpoint", dtype="bfloat16", **how)


# low rank


@pytest.mark.parametrize("params", [SVD, ASVD])
def test_a_reload_is_the_model_that_was_in_memory(workshop: Any, params: dict[str, Any]) -> None:
    job = workshop.job(
        PRUNE | params, sources={"model": workshop.dense, "calibration": workshop.text}
    )
    with compressed(job) as (model, _):
        factors = {name: pair.bfloat16() for name, pair in factored.pairs(model).items()}
    rebuilt = checkpoint.load(workshop.dense, dtype="bfloat16")
    for name, pair in factors.items():
        rebuilt.set_submodule(name, pair)
    expected = logits(rebuilt)
    factored.adopt(model)
    checkpoint.save_dense(model, workshop.dense, job.out / "checkpoint", dtype="bfloat16")
    again = reloaded(job.out)
    assert torch.equal(logits(again), expected)
    assert again.config.model_type == "llama"
    again.save_pretrained(job.out / "twice")
    assert torch.equal(logits(factored.load(job.out / "twice")), expected)


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
    served = factored.load(
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


def test_a_gram_matrix_that_cannot_be_factored_names_layer_and_knob(workshop: Any) -> None:
    with pytest.raises(
        StageFailure,
        match=r"not positive definite: model\.layers\.0\..*mlp\.down_proj\. Raise prune\.dampening",
    ):
        workshop.prune(
            fresh=True, **(SVD | {"dampening": 1e-16}),
            calibration={"samples": 1, "length": 16, "seed": 0},
        )  # fmt: skip


def test_inputs_that_are_not_finite_fail_asvd(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.methods import _low_rank

    real = _low_rank.Scaled.calibrate_module
    monkeypatch.setattr(
        _low_rank.Scaled,
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
        params=PRUNE | SVD, out=out, scratch=out,
        sources={"model": source, "calibration": workshop.text},
    )  # fmt: skip
    prune.run(job)
    model = reloaded(out)
    pair = model.get_submodule("model.layers.1.self_attn.q_proj")
    assert pair[0].bias is None
    before = load_file(source / "model.safetensors")["model.layers.1.self_attn.q_proj.bias"]
    assert torch.equal(pair[1].bias, before)
    assert before.any()
    found = workshop.measure(out, sparsity=0.2, pattern="low-rank", bits=16)
    assert found["total_weights"] == sum(p.numel() for p in qwen2(layers=2).parameters())


# depth


def qwen2(layers: int) -> Qwen2ForCausalLM:
    """A model whose configuration lists the kind of every layer: every second one is local."""
    kinds = ["full_attention", "sliding_attention"] * layers
    config = Qwen2Config(
        vocab_size=384, hidden_size=64, intermediate_size=192, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        use_sliding_window=True, sliding_window=8, layer_types=kinds[:layers],
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Qwen2ForCausalLM(config).to(torch.bfloat16)
        for layer in model.model.layers:
            torch.nn.init.normal_(layer.self_attn.q_proj.bias)
    return model


class Depth:
    """A dense model of five layers, and what is cut out of it."""

    def __init__(self, root: Path, text: Path) -> None:
        self.root, self.text = root, text
        self.dense = tiny.make(root / "dense", layers=5, hidden=64, seed=3)

    def prune(self, method: str, blocks: int, dense: Path | None = None) -> tuple[Path, Any]:
        out = self.root / f"{method}-{blocks}-{(dense or self.dense).name}"
        out.mkdir()
        params = PRUNE | {
            "method": method, "pattern": "structured", "blocks": blocks, "sparsity": blocks / 5,
        }  # fmt: skip
        job = Job(
            params=params, out=out, scratch=out,
            sources={"model": dense or self.dense, "calibration": self.text},
        )  # fmt: skip
        return out, prune.run(job)

    def model(self) -> Any:
        return checkpoint.load(self.dense, dtype="float32")

    def samples(self) -> torch.Tensor:
        from sweeper.stages import calibration

        return calibration.samples(CALIBRATION, checkpoint.tokenizer(self.dense), self.text)


@pytest.fixture(scope="module")
def shop(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Depth:
    return Depth(tmp_path_factory.mktemp("depth"), workshop.text)


def without(model: Any, gone: list[int]) -> Any:
    kept = [layer for i, layer in enumerate(model.model.layers) if i not in gone]
    model.model.layers = torch.nn.ModuleList(kept)
    model.config.num_hidden_layers = len(kept)
    return model


def silent(fraction: float, note: str = "") -> None:
    """Nobody watches."""


def test_block_influence_is_its_formula(shop: Depth) -> None:
    model, ids = shop.model(), shop.samples()
    with torch.no_grad():
        states = model.model(ids, output_hidden_states=True).hidden_states
        outputs: list[torch.Tensor] = []
        last = model.model.layers[-1]
        handle = last.register_forward_hook(lambda _m, _a, out: outputs.append(out))
        model.model(ids)
        handle.remove()
    with chain.opened(model, ids) as layers:
        found = block_influence(layers, silent)
    x = [s.double().flatten(0, 1) for s in (*states[:-1], outputs[0])]  # the last is before norm
    for i, influence in enumerate(found):
        cosine = (x[i] * x[i + 1]).sum(-1) / (x[i].norm(dim=-1) * x[i + 1].norm(dim=-1))
        assert influence == pytest.approx(1 - float(cosine.mean()), abs=1e-6)
    assert len({round(f, 9) for f in found}) == 5


def test_shortgpt_removes_the_least_influential_layers(shop: Depth) -> None:
    with chain.opened(shop.model(), shop.samples()) as layers:
        influence = block_influence(layers, silent)
    out, result = shop.prune("shortgpt", 2)
    assert result["removed"] == sorted(range(5), key=influence.__getitem__)[:2]
    assert result["layers"] == 5
    expected = logits(without(checkpoint.load(shop.dense, dtype="bfloat16"), result["removed"]))
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(out / "checkpoint")), expected)


def test_sleb_removes_what_leaves_the_least_perplexity_each_time(shop: Depth) -> None:
    ids = shop.samples()

    def loss(gone: list[int]) -> float:
        with torch.no_grad():
            return float(without(shop.model(), gone)(ids, labels=ids, use_cache=False).loss)

    brute: list[int] = []
    for _ in range(3):
        left = [i for i in range(5) if i not in brute]
        brute.append(min(left, key=lambda i: loss([*brute, i])))
    told: list[float] = []
    with chain.opened(shop.model(), ids) as layers:
        found = greedy(layers, 3, lambda fraction, note="": told.append(fraction))
    assert found == brute
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
    _, result = shop.prune("sleb", 2)
    assert result["removed"] == brute[:2]


def test_the_smaller_checkpoint_is_valid_and_measured(shop: Depth, workshop: Any) -> None:
    out, result = shop.prune("shortgpt", 1)
    config = json.loads((out / "checkpoint" / "config.json").read_text())
    assert config["num_hidden_layers"] == 4
    model = AutoModelForCausalLM.from_pretrained(out / "checkpoint")
    assert [layer.self_attn.layer_idx for layer in model.model.layers] == [0, 1, 2, 3]
    assert result["sparsity"] == 0.2
    cached, plain = (model.generate(IDS, max_new_tokens=4, use_cache=c) for c in (True, False))
    assert torch.equal(cached, plain)
    found = workshop.measure(out, sparsity=0.2, pattern="structured", bits=16)
    linear = 5 * LINEAR // 2
    assert found["linear_weights"] == linear
    assert found["total_weights"] == linear + 384 * 64 + 11 * 64
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    assert found["achieved_sparsity"] == pytest.approx(0.2)
    assert found["bits_per_weight"]["stored"] == pytest.approx(16 * 0.8)
    with pytest.raises(StageFailure, match="40% removed are"):
        workshop.measure(out, sparsity=0.4, pattern="structured", bits=16)
    packed = workshop.quantize(out, mask="none")
    joint = workshop.measure(packed, out, sparsity=0.2, pattern="structured", bits=4)
    assert joint["rate"]["achieved"] == pytest.approx(1 - 4 / 16 * 0.8)
    assert joint["bits_per_weight"]["stored"] < 4.5 * 0.8


def test_kinds_of_layers_follow_their_layers(shop: Depth, tmp_path: Path) -> None:
    source = tmp_path / "qwen2"
    qwen2(layers=5).save_pretrained(source)
    tiny.tokenizer(source)
    out, result = shop.prune("shortgpt", 2, source)
    config = json.loads((out / "checkpoint" / "config.json").read_text())
    kinds = ["full_attention", "sliding_attention"] * 3
    kept = [i for i in range(5) if i not in result["removed"]]
    assert config["layer_types"] == [kinds[i] for i in kept]


def test_a_layer_whose_kind_hangs_on_its_index_is_noticed(tmp_path: Path) -> None:
    # the trap: without its list of kinds, the configuration makes another model of the rest
    source = tmp_path / "qwen2"
    qwen2(layers=4).save_pretrained(source)
    tiny.tokenizer(source)
    model = checkpoint.load(source, dtype="bfloat16")
    depth.take_out(model, [0])
    out = tmp_path / "out"
    checkpoint.save_dense(model, source, out, dtype="bfloat16")
    depth.require_same(model, out, IDS)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(
        json.dumps(config | {"layer_types": ["full_attention"] * 3, "sliding_window": None})
    )
    with pytest.raises(StageFailure, match=r"depends on its index"):
        depth.require_same(model, out, IDS)


@pytest.mark.parametrize("rounded", [False, True])
def test_factors_can_be_scored(workshop: Any, make_job: Any, rounded: bool) -> None:
    out = workshop.prune(**SVD)
    if rounded:
        out = workshop.quantize(out, bits=8, **WHOLE_ROWS)
    found = evaluate.run(make_job(out / "checkpoint", task="tiny_text"))
    assert found["n_docs"] > 6
    assert 1 < found["metrics"]["word_perplexity"]["value"] < 1e12
