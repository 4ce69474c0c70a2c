"""Carries out ``convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sweeper.stages import Job
from sweeper.stages.convert import pieces


def run(job: Job) -> dict[str, Any]:
    """Writes ``checkpoint/`` with the weights of the file, dequantized.

    Raises:
        BadInput: the source is no GGUF file, lacks a piece, or is not the one that was planned.
    """
    digest, dtype = job.params["file_sha256"], job.params["dtype"]
    own = job.params.get("tokenizer") == "scores"
    with pieces.whole(pieces.of(job.sources), digest, job.scratch) as source:
        model = _model(source, dtype)
        tokenizer = _built(source) if own else _tokenizer(source)
    # by class: save_pretrained refuses a model that it believes to be quantized
    plain = type(model)(_plain_config(model.config)).to(model.dtype)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    plain.save_pretrained(job.out / "checkpoint")
    tokenizer.save_pretrained(job.out / "checkpoint")
    return {
        "architecture": type(plain).__name__,
        "parameters": sum(p.numel() for p in plain.parameters()),
        "dtype": dtype,
        "file_sha256": digest,
    }


def _model(path: Path, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=getattr(torch, dtype), local_files_only=True
    )


def _tokenizer(path: Path) -> Any:
    """What transformers itself makes of a GGUF file."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)


def _built(path: Path) -> Any:
    from sweeper.stages.convert import tokenizer

    return tokenizer.build(tokenizer.read(path))


def _plain_config(config: Any) -> Any:
    """The configuration without the mark of having been quantized."""
    values = {k: v for k, v in config.to_dict().items() if k != "quantization_config"}
    return type(config)(**values)
