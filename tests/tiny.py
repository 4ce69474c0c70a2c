"""A tiny random Llama checkpoint with a real tokenizer, and text to calibrate it with."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

NOUNS = "fox dog river model weight layer town garden letter window teacher song".split()
VERBS = "sees follows paints measures crosses finds writes keeps opens learns".split()
ADJECTIVES = "quick lazy quiet small bright heavy old green patient narrow".split()


def sentences(count: int, seed: int = 0) -> list[str]:
    """``count`` seeded English-like sentences, one string each."""
    rng = random.Random(seed)

    def phrase() -> str:
        return f"the {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"

    return [f"{phrase()} {rng.choice(VERBS)} {phrase()}.".capitalize() for _ in range(count)]


def text(path: Path, *, count: int = 400, seed: int = 0) -> Path:
    """Writes a calibration text file (about 10 tokens a sentence) and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(sentences(count, seed)) + "\n", encoding="utf-8")
    return path


def tokenizer(path: Path, *, vocab: int = 384) -> Path:
    """Saves a byte-level BPE tokenizer, trained on the sentences: any text can be encoded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=["<|end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(sentences(400), trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<|end|>",
        eos_token="<|end|>",
        pad_token="<|pad|>",
        model_max_length=512,
    ).save_pretrained(path)
    return path


def make(
    path: Path,
    *,
    hidden: int = 64,
    layers: int = 2,
    intermediate: int = 192,
    vocab: int = 384,
    seed: int = 0,
) -> Path:
    """Writes a bf16 `LlamaForCausalLM` checkpoint with tied embeddings; returns ``path``."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
        dtype="bfloat16",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(path)
    return tokenizer(path, vocab=vocab)


SIZES = {
    "vocab_size": 384,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 1,
}
# What the configurations of other architectures call the same, and what they need besides.
_OWN: dict[str, dict[str, Any]] = {
    "bloom": {"n_layer": 2, "n_head": 4},
    "cohere": {},
    "falcon": {},
    "gemma2": {"head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 16},
    "gemma3_text": {
        "head_dim": 16,
        "sliding_window": 16,
        "query_pre_attn_scalar": 16,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "gpt_neox": {},
    "llama": {},
    "mamba": {"state_size": 8},
    "mistral": {},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "opt": {"ffn_dim": 128, "word_embed_proj_dim": 64},
    "phi3": {"sliding_window": None},
    "qwen2": {},
    "qwen3": {},
    "qwen3_moe": {
        "moe_intermediate_size": 64,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "head_dim": 16,
    },
}


def architecture(
    path: Path, kind: str, *, dtype: str = "bfloat16", seed: int = 0, **own: Any
) -> Path:
    """Writes a random checkpoint of a real architecture (transformers' ``model_type``).

    Norms are not all alike, so that one that is taken for another is seen.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(kind, **{**SIZES, **_OWN[kind], **own})
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for name, parameter in model.named_parameters():
            if (parameter.ndim == 1 and "norm" in name) or name.endswith("bias"):
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif parameter.ndim == 2 and "embed" not in name:
                parameter.mul_(3)
    model.to(getattr(torch, dtype)).save_pretrained(path)
    return tokenizer(path)


def overrides(folder: Path, *, layers: int = 2) -> list[str]:
    """Makes a model and a text below ``folder``; the words that plan with them."""
    make(folder / "model", layers=layers)
    text(folder / "text.txt", count=600)
    return [
        "model=custom",
        f"model.id={folder / 'model'}",
        "model.name=tiny",
        f"calibration.path={folder / 'text.txt'}",
        "model.group_size=32",
        "calibration.samples=4",
        "calibration.length=32",
    ]
