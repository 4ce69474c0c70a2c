"""Single decoder layers run again give what the whole model gives, whatever calls them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeper.modeling import checkpoint, layer_chain, matrices
from sweeper.stages.prune import remove_layers
from tests import tiny

KINDS = {
    "llama": {},
    "bloom": {},  # a bias by position, made for each sample
    "opt": {},  # a norm of another name, then a projection out
    "gpt_neox": {},
    "gemma2": {"final_logit_softcapping": 1.5},
    "cohere": {"logit_scale": 3.0},
}


@pytest.fixture(scope="module", params=list(KINDS))
def model(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    kind: str = request.param
    own = {"word_embed_proj_dim": 32} if kind == "opt" else KINDS[kind]
    folder: Path = tmp_path_factory.mktemp(kind)
    return checkpoint.load(tiny.architecture(folder, kind, **own), dtype="float32")


@pytest.fixture
def ids() -> torch.Tensor:
    """More samples than one batch takes, the last batch smaller than the others."""
    draws = torch.Generator().manual_seed(3)
    return torch.randint(5, 361, (layer_chain.TOKENS_PER_BATCH // 256 + 2, 256), generator=draws)


def own_loss(model: Any, ids: torch.Tensor) -> float:
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()))


def test_layer_by_layer_is_the_model(model: Any, ids: torch.Tensor) -> None:
    with layer_chain.opened(model, ids) as chain:
        states = chain.embedded()
        for index in range(len(chain.layers)):
            states = chain.through(index, states)
        assert chain.loss(states) == pytest.approx(own_loss(model, ids), rel=1e-5)
        part = chain.through(0, chain.embedded()[1:], first=1)
        assert torch.allclose(part[0], chain.through(0, chain.embedded())[1], atol=1e-5)


def test_without_a_layer_it_is_the_shorter_model(model: Any, ids: torch.Tensor) -> None:
    with layer_chain.opened(model, ids) as chain:
        short = chain.loss(chain.through(1, chain.embedded()))
        whole = chain.loss(chain.through(1, chain.through(0, chain.embedded())))
    shorter = copy.deepcopy(model)
    remove_layers.take_out(shorter, [0])
    assert short == pytest.approx(own_loss(shorter, ids), rel=1e-5)
    assert abs(short - whole) > 1e-3, "the layer does something"


def test_nothing_stays_behind(model: Any, ids: torch.Tensor) -> None:
    before = own_loss(model, ids)
    with layer_chain.opened(model, ids) as chain:
        chain.loss(chain.through(1, chain.embedded()))
    assert own_loss(model, ids) == before
    assert not any("forward" in layer.__dict__ for layer in matrices.layers(model))
    assert not any(layer._forward_hooks for layer in matrices.layers(model))


def test_the_gradient_is_that_of_the_models_own_logits(model: Any, ids: torch.Tensor) -> None:
    few = ids[:2, :40]
    with layer_chain.opened(model, few) as chain:
        states = chain.embedded()
        for index in range(len(chain.layers)):
            states = chain.through(index, states)
        found = chain.gradient(states[0], torch.Generator().manual_seed(0))
        with torch.enable_grad():
            start = states[0].flatten(0, 1).detach().requires_grad_()
            logits = chain._ended(start)
        reached = logits.detach().softmax(-1).cumsum(-1)
        drawn = torch.rand(len(start), 1, generator=torch.Generator().manual_seed(0))
        words = torch.searchsorted(reached, drawn * reached[:, -1:]).squeeze(1)
        with torch.enable_grad():
            loss = torch.nn.functional.cross_entropy(logits, words, reduction="sum")
            (expected,) = torch.autograd.grad(loss, start)
    assert torch.allclose(found.flatten(0, 1), expected, atol=1e-4)
    assert found.norm() > 0
