"""Proof on the spot that a change of basis left a model's logits as they were."""

from __future__ import annotations

from typing import Any

import torch

from sweeper.errors import StageFailure
from sweeper.methods.quantization.identity import EXACT

TOKENS = 64


def of(model: Any) -> torch.Tensor:
    """Logits of one seeded row of random tokens, [TOKENS, vocabulary], on the CPU."""
    draws = torch.Generator().manual_seed(0)
    rows = model.get_input_embeddings().weight.shape[0]
    ids = torch.randint(rows, (1, TOKENS), generator=draws).to(model.device)
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids, use_cache=False).logits[0]
    return found.cpu()


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """How far ``other`` is from ``one``, relative to it."""
    return float((other.double() - one.double()).norm() / one.double().norm())


def require_same(before: torch.Tensor, model: Any, method: str) -> float:
    """How far the logits of a model are from those before it was changed, relative to them.

    Raises:
        StageFailure: further than rounding explains.
    """
    found = difference(before, of(model))
    if not found <= EXACT:
        raise StageFailure(
            f"{method} is to leave what the model computes as it was, and changed the logits of "
            f"{type(model).__name__} by {100 * found:.1f} %: it is not built as is assumed. Set "
            f"{method}=none."
        )
    return found
