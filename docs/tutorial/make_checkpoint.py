"""Trains a small language model on Python's documentation: the tutorial's checkpoint.

    python docs/tutorial/make_checkpoint.py DIRECTORY

A Llama of one million parameters, about a minute on one CPU core. It writes what any training
script leaves: config.json, model.safetensors, a tokenizer. The text is the calibration text that
Isorate ships; the perplexity of the tutorial is taken on other topics of the same documentation.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEXT = Path(__file__).parents[2] / "sweeper" / "data" / "calibration" / "pydoc.txt"
STEPS, BATCH, LENGTH = 500, 8, 128


def tokenizer(text: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE with 1,024 entries, trained on the text."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=["<|end|>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    raw.train_from_iterator([text], trainer)
    end = "<|end|>"
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=end, eos_token=end, pad_token=end, model_max_length=256
    )


def main(folder: Path) -> None:
    """Train and save."""
    torch.manual_seed(0)
    text = TEXT.read_text(encoding="utf-8")
    tokens = tokenizer(text)
    ids = torch.tensor(tokens(text)["input_ids"])
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        starts = torch.randint(len(ids) - LENGTH, (BATCH,))
        batch = torch.stack([ids[start : start + LENGTH] for start in starts.tolist()])
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.2f}")
    model.to(torch.bfloat16).save_pretrained(folder)
    tokens.save_pretrained(folder)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
