"""A decoder as a plain chain of layers, for methods that run some layers again and again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from sweeper.errors import StageFailure
from sweeper.modeling import layerwise

TOKENS_PER_BATCH = 2048  # bounds the activations held at once; does not depend on the machine
_LOGITS = 256  # tokens whose logits are held at once

States = list[torch.Tensor]
"""The hidden states between two layers: one [samples, length, width] for each batch."""


def batches(samples: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The samples, [n, length], as every calibration pass takes them in."""
    size = max(1, TOKENS_PER_BATCH // samples.shape[1])
    return tuple(samples.split(size))


class Chain:
    """The decoder layers of a model and the samples that run through them.

    Args:
        model: a causal LM; made by `opened` only, which also switches learning off.
        samples: token ids, int64 [n, length], where the model is.

    Raises:
        StageFailure: the layers are no plain chain, or there is no final norm.
    """

    def __init__(self, model: Any, samples: torch.Tensor) -> None:
        self.layers = layerwise.decoder_layers(model)
        calls = layerwise.chain(model, samples)
        self._norm = getattr(model.get_decoder(), "norm", None)
        if calls is None or self._norm is None:
            raise StageFailure(
                "the decoder layers of this architecture are no plain chain that ends in a "
                "norm, so single layers cannot be run again: no search can treat it."
            )
        self._calls, self._model, self._batches = calls, model, batches(samples)

    def embedded(self) -> States:
        """What the first layer is given."""
        first = self.layers[0]
        return [layerwise.embedded(self._model, first, ids) for ids in self._batches]

    def through(self, index: int, states: States) -> States:
        """What layer ``index`` makes of ``states``."""
        args, kwargs = self._calls[index]
        layer = self.layers[index]
        return [layerwise.states_of(layer(each, *args[1:], **kwargs)) for each in states]

    def loss(self, states: States) -> float:
        """Mean negative log likelihood of the samples' tokens, in nats, after the last layer."""
        head, total, count = self._model.get_output_embeddings(), 0.0, 0
        for ids, each in zip(self._batches, states, strict=True):
            hidden, targets = each[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
            for rows, target in zip(hidden.split(_LOGITS), targets.split(_LOGITS), strict=True):
                assert self._norm is not None
                logits = head(self._norm(rows)).float()
                total += float(torch.nn.functional.cross_entropy(logits, target, reduction="sum"))
            count += targets.numel()
        return total / count

    def gradient(self, states: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
        """That of a batch's negative log likelihood, summed, where words are drawn from it.

        Args:
            states: after the last layer, [samples, length, width].
            draws: on the CPU; one number for each word.
        """
        head = self._model.get_output_embeddings()
        assert self._norm is not None
        found = []
        for rows in states.flatten(0, 1).split(_LOGITS):
            with torch.enable_grad():
                start = rows.detach().requires_grad_()
                logits = head(self._norm(start)).float()
                reached = logits.detach().softmax(-1).cumsum(-1)
                number = torch.rand(len(rows), 1, generator=draws).to(reached)
                words = torch.searchsorted(reached, number * reached[:, -1:]).squeeze(1)
                loss = torch.nn.functional.cross_entropy(
                    logits, words.clamp_max(logits.shape[1] - 1), reduction="sum"
                )
                found += torch.autograd.grad(loss, start)
        return torch.cat(found).view_as(states)


@contextmanager
def opened(model: Any, samples: torch.Tensor) -> Iterator[Chain]:
    """A chain to work with; inside, nothing is learned or cached by a forward pass."""
    model.requires_grad_(False)
    with layerwise.calibrating(model):
        yield Chain(model, samples)
