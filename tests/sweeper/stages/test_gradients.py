"""How much the loss feels a token of a matrix: by autograd through the whole model, and by KL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.nn import functional

from sweeper.modeling import checkpoint, layer_chain
from sweeper.stages import calibration
from sweeper.stages.sensitivity import gradients, stage
from tests import rounding

from .conftest import CALIBRATION
from .test_sensitivity import PARAMS, inputs_of

MATRICES = (
    "model.layers.0.self_attn.k_proj",
    "model.layers.0.mlp.up_proj",
    "model.layers.1.self_attn.o_proj",
    "model.layers.1.mlp.down_proj",
)
Read = tuple[Any, torch.Tensor]


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    with rounding.exactly():
        yield


@pytest.fixture
def read(workshop: Any) -> Read:
    """(model, samples); in float64, where sums in any order agree."""
    model = checkpoint.load(workshop.dense, dtype="float64")
    tokenizer = checkpoint.tokenizer(workshop.dense)
    return model, calibration.samples(CALIBRATION, tokenizer, workshop.text)


def test_the_gradients_are_those_of_the_whole_model(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_chain, "TOKENS_PER_BATCH", 128)
    model, samples = read
    linears = checkpoint.linears(model)
    with layer_chain.opened(model, samples) as layers:
        told: list[float] = []
        found = gradients.of_tokens(layers, linears.values(), lambda share, _of: told.append(share))
    assert told == [0.25, 0.5, 0.75, 1.0]
    kept: dict[str, torch.Tensor] = {}
    for name in MATRICES:

        def keep(_module: Any, _args: Any, output: torch.Tensor, name: str = name) -> None:
            output.retain_grad()
            kept[name] = output

        linears[name].register_forward_hook(keep)
    logits = model.requires_grad_(True)(samples).logits.flatten(0, 1)
    numbers = torch.rand(len(logits), 1, generator=torch.Generator().manual_seed(0))
    reached = logits.softmax(-1).cumsum(-1).detach()
    words = (reached < numbers).sum(-1)
    functional.cross_entropy(logits, words, reduction="sum").backward()
    for name in MATRICES:
        slope = kept[name].grad
        assert slope is not None
        torch.testing.assert_close(
            torch.cat(tuple(found[linears[name]])).double(),
            slope.square().mean(-1),
            rtol=(slope.shape[-1] + 3) * rounding.UNIT,
            atol=0,  # squares are summed in float32
        )


def test_words_are_drawn_as_often_as_the_model_says(read: Read) -> None:
    """Then gradients cancel in the mean; of one and the same word they would be all alike."""
    model, samples = read
    with layer_chain.opened(model, samples) as layers:
        states = layers.embedded()[0][:1, :1].expand(1, 4096, -1)
        slopes = layers.gradient(states, torch.Generator().manual_seed(0))[0]
    alike = slopes.mean(0).norm() / slopes.square().sum(-1).mean().sqrt()
    assert alike < 3 / 4096**0.5


def test_errors_by_loss_are_the_divergence_in_nats(workshop: Any, read: Read) -> None:
    """A small random change of one matrix: what is predicted for it against what it does."""
    model, samples = read
    linears = checkpoint.linears(model)
    with layer_chain.opened(model, samples) as layers:
        found = gradients.of_tokens(layers, linears.values(), lambda *_: None)
    with torch.no_grad():
        before = model(samples).logits.flatten(0, 1).double().log_softmax(-1)
    ratios = []
    for name in MATRICES:
        weight, inputs = inputs_of(workshop, name, "float64")
        felt = torch.cat(tuple(found[linears[name]])).flatten()
        for seed in range(4):
            noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
            noise *= 0.01 * weight.std()
            predicted = float((felt * (inputs @ noise.t()).square().sum(-1)).mean() / 2)
            with torch.no_grad():
                linears[name].weight.copy_(weight + noise)
                after = model(samples).logits.flatten(0, 1).double().log_softmax(-1)
                linears[name].weight.copy_(weight)
            ratios.append(float((before.exp() * (before - after)).sum(-1).mean()) / predicted)
    assert 0.7 < sum(ratios) / len(ratios) < 1.4
    assert min(ratios) > 0.5
    assert max(ratios) < 2.5


def test_the_table_has_these_errors(workshop: Any, read: Read) -> None:
    model, samples = read
    linears = checkpoint.linears(model)
    with layer_chain.opened(model, samples) as layers:
        felt = gradients.of_tokens(layers, linears.values(), lambda *_: None)
    sources = {"model": workshop.dense, "calibration": workshop.text}
    done: list[float] = []
    job = workshop.job(
        PARAMS | {"errors": "loss", "compute_dtype": "float64"},
        sources=sources,
        progress=lambda share, *_: done.append(share),
    )
    stage.run(job)
    assert done == sorted(done)
    assert done[-1] == 1
    table = json.loads((job.out / stage.FILE).read_text())["matrices"]
    for name in MATRICES:
        weight, inputs = inputs_of(workshop, name, "float64")
        scores = weight.abs() * inputs.norm(dim=0)
        half = weight.shape[1] // 2
        lost = weight * (scores.argsort(dim=1, stable=True).argsort(dim=1, stable=True) < half)
        weights = torch.cat(tuple(felt[linears[name]])).flatten()
        expected = float((weights * (inputs @ lost.t()).square().sum(-1)).mean() / 2)
        assert table[name]["errors"][4] == pytest.approx(expected, rel=1e-9)
        assert table[name]["errors"][0] == 0
