"""How much the loss feels a change of a matrix's output, token by token."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch

from sweeper.modeling.layer_chain import Chain

Weights = Mapping[Any, Sequence[torch.Tensor]]
"""Matrix -> for each batch float32 [samples, length]."""


def of_tokens(
    layers: Chain, matrices: Collection[Any], told: Callable[[float, str], None]
) -> Weights:
    """||dL/dy_t||^2 / rows of the output y_t of every matrix at every token t.

    L is the negative log likelihood, in nats and summed over the text, of words that are drawn
    from the model's own predictions, one at each place. In expectation over the draws the squares
    of its gradients are Fisher's information, so that for a small change D of y_t, which lies in
    no special direction, half of ||D||^2 times what is returned is the divergence of the changed
    model's predictions from the model's own (summed over all places after t as well).

    A batch at a time: the states between layers are kept, and each layer is run once more on the
    way back. The draws are the same on every device, up to rounding.

    Args:
        layers: of the model; its weights need no gradients.
        matrices: of these layers.
        told: the share that is done, and of what.
    """
    found: dict[Any, list[torch.Tensor]] = {matrix: [] for matrix in matrices}
    draws = torch.Generator().manual_seed(0)
    for number, first in enumerate(starts := layers.embedded()):
        states = [first]
        for index in range(len(layers.layers)):
            states += layers.through(index, states[-1:], number)
        gradient = layers.gradient(states.pop(), draws)
        for index in reversed(range(len(layers.layers))):
            gradient = _back(layers, index, (number, states.pop()), gradient, found)
        told((number + 1) / len(starts), f"gradients, batch {number + 1}/{len(starts)}")
    return found


def _back(
    layers: Chain,
    index: int,
    inputs: tuple[int, torch.Tensor],
    gradient: torch.Tensor,
    found: dict[Any, list[torch.Tensor]],
) -> torch.Tensor:
    """The gradient at the inputs of a layer; what its matrices' outputs have is put down.

    ``inputs`` are those of a batch, with its number.
    """
    number, batch = inputs

    def listen(module: Any, _args: Any, output: torch.Tensor) -> None:
        def note(slope: torch.Tensor) -> None:
            found[module].append(slope.float().square().mean(-1))

        output.register_hook(note)

    within = [module for module in layers.layers[index].modules() if module in found]
    handles = [module.register_forward_hook(listen) for module in within]
    try:
        with torch.enable_grad():
            start = batch.detach().requires_grad_()
            (after,) = layers.through(index, [start], number)
            (before,) = torch.autograd.grad(after, start, gradient)
    finally:
        for handle in handles:
            handle.remove()
    return before
