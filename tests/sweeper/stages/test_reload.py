"""Every method's checkpoint: loaded again, it is the model that was in memory, logit for logit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from sweeper import methods
from sweeper.modeling import checkpoint, low_rank_format

from .removal import logits
from .test_jsq import FIXED
from .test_low_rank import ASVD, SVD
from .test_methods import JOINT, QUANTIZERS

HALF = {"pattern": "structured", "sparsity": 0.5, "blocks": 1}
LOW_RANK = {"svd_llm": SVD, "asvd": ASVD}
PRUNERS: dict[str, dict[str, Any]] = {
    "jsq": FIXED,
    **LOW_RANK,
    "shortgpt": HALF,
    "sleb": HALF,
}


@pytest.mark.parametrize("name", methods.names("prune"))
def test_a_pruner(workshop: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    memory: list[torch.Tensor] = []
    save = checkpoint.save_dense

    def saved(model: Any, source: Path, out: Path, *, dtype: str, **more: Any) -> Any:
        for weight in model.parameters():  # rounded as it is saved, unlike the buffers
            weight.data = weight.data.to(checkpoint.dtype_of(dtype))
        memory.append(logits(model))
        return save(model, source, out, dtype=dtype, **more)

    monkeypatch.setattr(checkpoint, "save_dense", saved)
    out = workshop.prune(fresh=True, **PRUNERS.get(name, {}) | {"method": name}) / "checkpoint"
    (expected,) = memory
    plain = AutoModelForCausalLM.from_pretrained
    again = low_rank_format.load(out) if name in LOW_RANK else plain(out)
    assert again.dtype == torch.bfloat16
    assert torch.equal(logits(again), expected)
    assert not torch.equal(logits(plain(workshop.dense)), expected)


def test_quantizers_are_all_held_to_it() -> None:
    """By `test_methods.test_reload_is_the_model_that_was_in_memory`."""
    held = [param.values[0].get("method", "gptq") for param in QUANTIZERS]  # type: ignore[union-attr]
    assert {*held, "gptq", JOINT["method"]} == set(methods.names("quantize"))
