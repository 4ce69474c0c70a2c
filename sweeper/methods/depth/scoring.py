"""What a decoder layer is worth: how much it turns its input, or the perplexity without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from sweeper.methods.depth.protocol import Layers, States

Report = Callable[..., None]


def block_influence(chain: Layers, report: Report) -> list[float]:
    """Block influence of every layer: 1 - E[cos(x_i, x_i+1)] over tokens (arXiv 2403.03853, eq. 1).

    ``x_i`` is what layer i is given and ``x_i+1`` what it returns. 0 means that it turns
    nothing; the least influential layers are the redundant ones.
    """
    found: list[float] = []
    before = chain.embedded()
    for index in range(len(chain.layers)):
        after = chain.through(index, before)
        found.append(float(1 - _cosines(before, after).mean()))
        before = after
        report((index + 1) / len(chain.layers), f"layer {index + 1}/{len(chain.layers)}")
    return found


def _cosines(before: States, after: States) -> torch.Tensor:
    """[tokens], float64."""
    each = [
        torch.nn.functional.cosine_similarity(a.float(), b.float(), dim=-1).flatten()
        for a, b in zip(before, after, strict=True)
    ]
    return torch.cat(each).double()


def greedy(chain: Layers, count: int, report: Report) -> list[int]:
    """Layers in the order in which SLEB removes them (arXiv 2402.09025, algorithm 1).

    In each round the layer goes whose removal leaves the least perplexity on the samples,
    given those that are gone. Layers before a candidate are run once for all candidates.
    """
    gone: list[int] = []
    for turn in range(count):
        left = [index for index in range(len(chain.layers)) if index not in gone]
        losses, states = {}, chain.embedded()
        for place, candidate in enumerate(left):
            losses[candidate] = chain.loss(_through(chain, left[place + 1 :], states))
            states = chain.through(candidate, states)
            done = (turn + (place + 1) / len(left)) / count
            report(done, f"removal {turn + 1}/{count}, layer {place + 1}/{len(left)}")
        gone.append(min(losses, key=losses.__getitem__))
    return gone


def _through(chain: Layers, indexes: Sequence[int], states: States) -> States:
    for index in indexes:
        states = chain.through(index, states)
    return states
