"""``convert``: a GGUF file becomes a plain transformers checkpoint that every stage can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sweeper.errors import BadInput
from sweeper.stages import Job
from sweeper.store import files

MAGIC = b"GGUF"


def run(job: Job) -> dict[str, Any]:
    """Writes ``checkpoint/`` with the weights of the file, dequantized.

    Raises:
        BadInput: the source is no GGUF file, or not the one that was planned.
    """
    source = job.sources["gguf"]
    require_gguf(source)
    digest = files.sha256(source)
    if digest != job.params["file_sha256"]:
        raise BadInput(
            "model.id", source, "the file changed since the sweep was planned.", "Plan again."
        )
    model, tokenizer = _load(source, job.params["dtype"])
    # by class: save_pretrained refuses a model that it believes to be quantized
    plain = type(model)(_plain_config(model.config)).to(model.dtype)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    plain.save_pretrained(job.out / "checkpoint")
    tokenizer.save_pretrained(job.out / "checkpoint")
    return {
        "architecture": type(plain).__name__,
        "parameters": sum(p.numel() for p in plain.parameters()),
        "dtype": job.params["dtype"],
        "file_sha256": digest,
    }


def require_gguf(path: Path) -> None:
    """Check the first bytes of a file.

    Raises:
        BadInput: ``path`` does not begin like a GGUF file.
    """
    if not path.is_file():
        raise BadInput("model.id", path, "there is no such file.", "Give the path of a .gguf file.")
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise BadInput(
                "model.id", path, "it is not a GGUF file.", "For a checkpoint set model.format=hf."
            )


def _load(path: Path, dtype: str) -> tuple[Any, Any]:
    """What transformers itself reads from a GGUF file: (model, tokenizer)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=getattr(torch, dtype), local_files_only=True
    )
    tokenizer = AutoTokenizer.from_pretrained(
        path.parent, gguf_file=path.name, local_files_only=True
    )
    return model, tokenizer


def _plain_config(config: Any) -> Any:
    """The configuration without the mark of having been quantized."""
    values = {k: v for k, v in config.to_dict().items() if k != "quantization_config"}
    return type(config)(**values)
