"""Decoder layers that are taken out, through prune, quantize and measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from sweeper.errors import StageFailure
from sweeper.methods.depth.scoring import block_influence, greedy
from sweeper.modeling import checkpoint, layer_chain
from sweeper.stages import Job, prune
from sweeper.stages.prune import remove_layers
from tests import rounding, tiny

from .conftest import CALIBRATION, PRUNE
from .removal import IDS, LINEAR, logits, qwen2


class Depth:
    """A dense model of five layers, and what is cut out of it."""

    def __init__(self, root: Path, text: Path) -> None:
        self.root, self.text = root, text
        self.dense = tiny.make(root / "dense", layers=5, hidden=64, seed=3)

    def prune(self, method: str, blocks: int, dense: Path | None = None) -> tuple[Path, Any]:
        out = self.root / f"{method}-{blocks}-{(dense or self.dense).name}"
        out.mkdir()
        params = PRUNE | {
            "method": method,
            "pattern": "structured",
            "blocks": blocks,
            "sparsity": blocks / 5,
        }
        job = Job(
            params=params,
            out=out,
            scratch=out,
            sources={"model": dense or self.dense, "calibration": self.text},
        )
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
    with layer_chain.opened(model, ids) as layers:
        found = block_influence(layers, silent)
    x = [s.double().flatten(0, 1) for s in (*states[:-1], outputs[0])]  # the last is before norm
    for i, influence in enumerate(found):
        cosine = (x[i] * x[i + 1]).sum(-1) / (x[i].norm(dim=-1) * x[i + 1].norm(dim=-1))
        assert influence == pytest.approx(1 - float(cosine.mean()), abs=1e-6)
    assert len({round(f, 9) for f in found}) == 5


def test_shortgpt_removes_the_least_influential_layers(shop: Depth) -> None:
    with layer_chain.opened(shop.model(), shop.samples()) as layers:
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
    with layer_chain.opened(shop.model(), ids) as layers:
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
    with rounding.exactly():  # in bfloat16 two words may tie
        exact = AutoModelForCausalLM.from_pretrained(out / "checkpoint", dtype=torch.float64)
        said = [exact.generate(IDS, max_new_tokens=4, use_cache=c) for c in (True, False)]
    assert torch.equal(*said)
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
    remove_layers.take_out(model, [0])
    out = tmp_path / "out"
    checkpoint.save_dense(model, source, out, dtype="bfloat16")
    remove_layers.require_same(model, out, IDS)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(
        json.dumps(config | {"layer_types": ["full_attention"] * 3, "sliding_window": None})
    )
    with pytest.raises(StageFailure, match=r"depends on its index"):
        remove_layers.require_same(model, out, IDS)
