"""Models and numbers for the tests of what takes parameters out."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

LINEAR, TOTAL = 98_304, 98_304 + 384 * 64 + 5 * 64
IDS = torch.arange(2, 42).reshape(1, -1)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(IDS, use_cache=False).logits
    return found


def qwen2(layers: int) -> Qwen2ForCausalLM:
    """A model whose configuration lists the kind of every layer: every second one is local."""
    kinds = ["full_attention", "sliding_attention"] * layers
    config = Qwen2Config(
        vocab_size=384,
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        use_sliding_window=True,
        sliding_window=8,
        layer_types=kinds[:layers],
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Qwen2ForCausalLM(config).to(torch.bfloat16)
        for layer in model.model.layers:
            torch.nn.init.normal_(layer.self_attn.q_proj.bias)
    return model
