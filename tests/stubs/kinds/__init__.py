"""Stand-ins for the real stages, of the same kinds and with results of the same form.

They cost nothing and are pure functions of their parameters and inputs, so that whole
sweeps (command line, launcher, MLflow, report) can be run hundreds of times.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from math import prod
from pathlib import Path

from sweeper.stages import Job

SLOW_S = float(os.environ.get("STANDIN_SECONDS", "0"))


def write_checkpoint(job: Job, *more: str) -> str:
    """A bulk directory whose bytes follow from parameters and inputs; returns its hash."""
    inputs = [(d / "checkpoint" / "weights.bin").read_bytes() for d in job.inputs.values()]
    text = json.dumps(dict(job.params), sort_keys=True, default=str).encode()
    digest = hashlib.sha256(text + b"".join(inputs)).hexdigest()
    for name in ("checkpoint", *more):
        (job.out / name).mkdir()
        (job.out / name / "weights.bin").write_text(digest * 20)
    time.sleep(SLOW_S)
    return digest


def fraction(job: Job) -> float:
    """A number in [0, 1) that follows from parameters and inputs."""
    inputs = [(d / "checkpoint" / "weights.bin").read_bytes() for d in job.inputs.values()]
    text = json.dumps(dict(job.params), sort_keys=True, default=str).encode()
    return int(hashlib.sha256(text + b"".join(inputs)).hexdigest()[:8], 16) / 2**32


def model(path: Path) -> Path:
    """A checkpoint directory that can be planned with: real headers, weights of zeros."""
    path.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 32,
        "tie_word_embeddings": True,
    }
    (path / "config.json").write_text(json.dumps(config))
    words = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}
    parts = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    every = {"type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated"}
    tokenizer = {"version": "1.0", "added_tokens": [], "model": words, **dict.fromkeys(parts)}
    tokenizer["pre_tokenizer"] = {**every, "invert": False}  # a token for every character
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": "{{ messages }}"}
    (path / "tokenizer_config.json").write_text(json.dumps(named))
    layer: dict[str, tuple[int, ...]] = {
        **{f"self_attn.{name}_proj": (64, 64) for name in "qkvo"},
        "mlp.gate_proj": (128, 64),
        "mlp.up_proj": (128, 64),
        "mlp.down_proj": (64, 128),
        "input_layernorm": (64,),
        "post_attention_layernorm": (64,),
    }
    shapes = {f"model.layers.{n}.{name}.weight": layer[name] for n in range(2) for name in layer}
    shapes |= {"model.embed_tokens.weight": (32, 64), "model.norm.weight": (64,)}
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    (path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    return path
