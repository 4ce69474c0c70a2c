"""A decoder as a chain of layers, for methods that run some layers again and again.

Where a layer's other arguments are the same for all samples, layers are called with those. Where
they are not (a bias by position for each head of each sample, as BLOOM has), the model itself is
run up to that layer, with the layers before it passed over. So it is for what follows the last
layer: the final norm and the head, unless the model does more than that (scales or caps logits).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

from sweeper.errors import StageFailure
from sweeper.modeling import layerwise, trace

TOKENS_PER_BATCH = 2048  # bounds the activations held at once; does not depend on the machine
_LOGITS = 256  # tokens whose logits are held at once
_LOOKED_AT = 4  # tokens that show how a model is built

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
        StageFailure: the layers are not called one after the other.
    """

    def __init__(self, model: Any, samples: torch.Tensor) -> None:
        self.layers = layerwise.decoder_layers(model)
        self._model, self._batches = model, batches(samples)
        self._calls, seen = layerwise.chain(model, samples), trace.of(model)
        if self._calls is None and not (self.layers and seen.in_order):
            raise StageFailure(
                "the decoder layers of this architecture are not called one after the other, so "
                "single layers cannot be run again: no search can treat it."
            )
        self._forms = _forms(model, self.layers, samples[:1, :_LOOKED_AT])
        self._norm = self._final_norm() if seen.bare_logits else None

    def embedded(self) -> States:
        """What the first layer is given."""
        first = self.layers[0]
        return [layerwise.embedded(self._model, first, ids) for ids in self._batches]

    def through(self, index: int, states: States, first: int = 0) -> States:
        """What layer ``index`` makes of ``states``, those of batch ``first`` and following ones."""
        layer = self.layers[index]
        if self._calls is None:
            ids = self._batches[first : first + len(states)]
            return [self._called(index, *each) for each in zip(ids, states, strict=True)]
        args, kwargs = self._calls[index]
        return [layerwise.states_of(layer(each, *args[1:], **kwargs)) for each in states]

    def _called(self, index: int, ids: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """What layer ``index`` makes of the states of a batch, where the model calls it."""
        found: list[torch.Tensor] = []

        def give(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return (states, *args[1:]), kwargs

        def take(_module: Any, _args: Any, output: Any) -> None:
            found.append(layerwise.states_of(output))
            raise layerwise.Enough

        layer = self.layers[index]
        with ExitStack() as hooks:
            hooks.enter_context(self._passed_over(range(index)))
            # ahead of those of a method, which listen to what the layer is given
            given = layer.register_forward_pre_hook(give, with_kwargs=True, prepend=True)
            hooks.callback(given.remove)
            hooks.callback(layer.register_forward_hook(take).remove)
            with suppress(layerwise.Enough):
                self._model.get_decoder()(input_ids=ids, use_cache=False)
        return found[0]

    def _logits(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits, float32 [tokens, words], of states after the last layer, [tokens, width]."""
        if self._norm is not None:
            found: torch.Tensor = self._model.get_output_embeddings()(self._norm(rows))
            return found.float()
        return self._ended(rows)

    def _ended(self, rows: torch.Tensor) -> torch.Tensor:
        """What the model itself makes of states after its last layer."""
        length = self._batches[0].shape[1]  # no longer than what the model takes
        found = []
        for part in rows.split(length):
            ids, last = self._batches[0][:1, : len(part)], len(self.layers) - 1
            with self._passed_over(range(last)), self._passed_over([last], part.unsqueeze(0)):
                found.append(self._model(input_ids=ids, use_cache=False).logits[0].float())
        return torch.cat(found)

    def _final_norm(self) -> Any:
        """The norm after the last layer, if it and the head are all that follows; else None."""
        norm = getattr(self._model.get_decoder(), "norm", None)
        if norm is None:
            return None
        few = self._batches[0][:1, :_LOOKED_AT]
        rows = layerwise.embedded(self._model, self.layers[0], few)[0]
        found = self._model.get_output_embeddings()(norm(rows)).float()
        return norm if torch.allclose(found, self._ended(rows), rtol=1e-2, atol=1e-3) else None

    @contextmanager
    def _passed_over(self, indexes: Iterable[int], states: Any = None) -> Iterator[None]:
        """Inside, each of these layers gives ``states``, or else what it is given, at no cost."""
        chosen = [(self.layers[index], self._forms[index]) for index in indexes]
        before = [layer.__dict__.get("forward") for layer, _ in chosen]
        for layer, form in chosen:
            layer.forward = _passing(form, states)
        try:
            yield
        finally:
            for (layer, _), own in zip(chosen, before, strict=True):
                del layer.__dict__["forward"]
                if own is not None:
                    layer.__dict__["forward"] = own

    def loss(self, states: States) -> float:
        """Mean negative log likelihood of the samples' tokens, in nats, after the last layer."""
        total, count = 0.0, 0
        for ids, each in zip(self._batches, states, strict=True):
            hidden, targets = each[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
            for rows, target in zip(hidden.split(_LOGITS), targets.split(_LOGITS), strict=True):
                logits = self._logits(rows)
                total += float(torch.nn.functional.cross_entropy(logits, target, reduction="sum"))
            count += targets.numel()
        return total / count

    def gradient(self, states: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
        """That of a batch's negative log likelihood, summed, where words are drawn from it.

        Args:
            states: after the last layer, [samples, length, width].
            draws: on the CPU; one number for each word.
        """
        found = []
        for rows in states.flatten(0, 1).split(_LOGITS):
            with torch.enable_grad():
                start = rows.detach().requires_grad_()
                logits = self._logits(start)
                reached = logits.detach().softmax(-1).cumsum(-1)
                number = torch.rand(len(rows), 1, generator=draws).to(reached)
                words = torch.searchsorted(reached, number * reached[:, -1:]).squeeze(1)
                loss = torch.nn.functional.cross_entropy(
                    logits, words.clamp_max(logits.shape[1] - 1), reduction="sum"
                )
                found += torch.autograd.grad(loss, start)
        return torch.cat(found).view_as(states)


def _forms(model: Any, layers: Sequence[torch.nn.Module], ids: torch.Tensor) -> list[int]:
    """How many things each layer returns as a tuple; 0 where it is one tensor."""
    found: list[int] = []

    def note(_module: Any, _args: Any, output: Any) -> None:
        found.append(len(output) if isinstance(output, tuple) else 0)

    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        model.get_decoder()(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _passing(form: int, states: Any) -> Any:
    def forward(given: Any, *_args: Any, **_kwargs: Any) -> Any:
        found = given if states is None else states
        return (found, *[None] * (form - 1)) if form else found

    return forward


@contextmanager
def opened(model: Any, samples: torch.Tensor) -> Iterator[Chain]:
    """A chain to work with; inside, nothing is learned or cached by a forward pass."""
    model.requires_grad_(False)
    with layerwise.calibrating(model):
        yield Chain(model, samples)
