"""The auxiliary saliency of JSQ: the range of an output over tokens with one weight taken out.

A_ij = max_n(Y_ni - X_nj W_ij) - min_n(Y_ni - X_nj W_ij) (Guo et al., ICML 2024, eq. 3): setting
one weight to zero changes Y = X W^T by a rank-1 term, so no product is computed again. Nor
are all tokens looked at for each weight: what a single weight adds is bounded, so only the
tokens with the largest outputs can be the largest without it. Where the bound does not
settle it, all tokens are. The result is that of the definition.
"""

from __future__ import annotations

import torch

_CANDIDATES = 16  # tokens tried for every weight of an output; more rarely settle more
_ELEMENTS = 2**18  # of a temporary: stays in a core's cache


class OutputRanges:
    """Collects, batch by batch, the ranges of the outputs of one matrix without each weight.

    Args:
        weight: [rows, columns], float32 or float64; must not change until `ranges`.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        self._weight = weight
        self._largest = torch.full_like(weight, -torch.inf)
        self._smallest = torch.full_like(weight, -torch.inf)  # with the sign turned

    def add(self, inputs: torch.Tensor) -> None:
        """Takes in a batch of inputs, [tokens, columns], of the weight's dtype."""
        outputs = self._weight @ inputs.t()
        raise_to(self._largest, self._weight, outputs, inputs)
        raise_to(self._smallest, -self._weight, outputs.neg_(), inputs)

    def ranges(self) -> torch.Tensor:
        """A, [rows, columns]."""
        return self._largest + self._smallest


def raise_to(
    largest: torch.Tensor, weight: torch.Tensor, outputs: torch.Tensor, inputs: torch.Tensor
) -> None:
    """Raises each entry of ``largest`` to max_n(outputs_in - inputs_nj weight_ij).

    Args:
        largest: [rows, columns], the maxima of earlier batches; overwritten.
        weight: [rows, columns].
        outputs: [rows, tokens], weight x inputs^T.
        inputs: [tokens, columns].
    """
    tokens = inputs.shape[0]
    count = min(_CANDIDATES, tokens)
    top, order = outputs.topk(min(count + 1, tokens), dim=1)
    rows = max(1, _ELEMENTS // (count * inputs.shape[1]))
    for part in torch.arange(len(weight), device=weight.device).split(rows):
        tried = inputs[order[part, :count]]  # [rows, candidates, columns]
        tried.mul_(weight[part].unsqueeze(1)).neg_().add_(top[part, :count].unsqueeze(2))
        largest[part] = torch.maximum(largest[part], tried.amax(1))
    if count < tokens:
        # the most that any other token could reach
        low, high = inputs.amin(0), inputs.amax(0)
        bound = top[:, count:] + torch.maximum(-weight * low, -weight * high)
        _settle(largest, bound > largest, weight, outputs, inputs)


def _settle(
    largest: torch.Tensor,
    open_: torch.Tensor,
    weight: torch.Tensor,
    outputs: torch.Tensor,
    inputs: torch.Tensor,
) -> None:
    """Looks at all tokens for the weights that are still ``open_``, boolean [rows, columns]."""
    pairs = open_.nonzero()
    across = inputs.t().contiguous()
    for part in pairs.split(max(1, _ELEMENTS // inputs.shape[0])):
        row, column = part.unbind(1)
        without = across[column].mul_(weight[row, column].unsqueeze(1)).neg_().add_(outputs[row])
        largest[row, column] = torch.maximum(largest[row, column], without.amax(1))
