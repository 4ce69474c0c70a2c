"""Loads, checks and saves the transformers checkpoints that stages hand on to each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from compressed_tensors import ModelCompressor
from transformers import AutoTokenizer, CompressedTensorsConfig

from sweeper.errors import StageFailure, several
from sweeper.modeling import low_rank_format, model_cache


def dtype_of(name: str) -> torch.dtype:
    """'bfloat16' -> torch.bfloat16."""
    found: torch.dtype = getattr(torch, name)
    return found


def quantized_by(path: Path) -> str | None:
    """The library whose codes the checkpoint at ``path`` has; None where it is dense."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    name: str | None = (config.get("quantization_config") or {}).get("quant_method")
    return name


def load(
    path: Path,
    *,
    dtype: str,
    device: str = "cpu",
    trust_remote_code: bool = False,
    quantization: Any = None,
) -> Any:
    """The causal LM at ``path`` in evaluation mode, its weights converted to ``dtype``.

    With ``quantization``, a ``quantization_config`` of transformers, its linear layers are
    quantized from weights of that dtype on the way in. Compressed weights are decompressed.

    Raises:
        StageFailure: the checkpoint lacks weights.
    """
    how: dict[str, Any] = {"dtype": dtype_of(dtype), "local_files_only": True}
    if quantized_by(path) == "compressed-tensors":
        quantization = CompressedTensorsConfig(dequantize=True)
    if quantization is not None:
        # quantized modules cannot be moved afterwards
        how |= {"quantization_config": quantization, "device_map": {"": device}}
    model, found = low_rank_format.load(
        path, trust_remote_code=trust_remote_code, output_loading_info=True, **how
    )
    require_complete(found, path)
    return (model if quantization is not None else model.to(device)).eval()


def sole(
    path: Path,
    *,
    dtype: str,
    device: str = "cpu",
    trust_remote_code: bool = False,
    quantization: Any = None,
) -> Any:
    """The model that a stage changes, alone in memory; arguments and errors as in `load`."""
    model_cache.forget()
    return load(
        path,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        quantization=quantization,
    )


def tokenizer(path: Path) -> Any:
    """The tokenizer that lies beside a checkpoint."""
    return AutoTokenizer.from_pretrained(path, local_files_only=True)


def linears(model: Any) -> dict[str, torch.nn.Linear]:
    """The matrices that are pruned and quantized, by name: all linear layers but the head."""
    found = model.named_modules()
    return {n: m for n, m in found if isinstance(m, torch.nn.Linear) and "lm_head" not in n}


def require_complete(found: Mapping[str, Any], path: Path) -> None:
    """Check what transformers reports of loading: it fills what is missing with random numbers.

    Raises:
        StageFailure: naming the weights that are not in the checkpoint, or of another shape.
    """
    bad = sorted(map(str, (*found["missing_keys"], *found["mismatched_keys"])))
    if bad:
        raise StageFailure(
            f"weights that are not in {path}: {several(bad)}. Fetch or copy the model again."
        )


def require_finite(model: Any, cure: str) -> None:
    """Check every weight of a model.

    Raises:
        StageFailure: some are NaN or infinite; names them.
    """
    bad = [n for n, p in model.named_parameters() if not torch.isfinite(p).all()]
    if bad:
        raise StageFailure(f"weights that are not finite: {several(bad)}. {cure}")


def save_dense(model: Any, source: Path, out: Path, *, dtype: str) -> None:
    """Writes a plain checkpoint (no compression config) and the tokenizer of ``source``."""
    # the class's own method: oneshot replaces the instance's by one that adds configs
    type(model).save_pretrained(model.to(dtype_of(dtype)), out)
    tokenizer(source).save_pretrained(out)


def save_as_it_is(model: Any, source: Path, out: Path) -> None:
    """Writes a model that transformers quantized, and the tokenizer of ``source``."""
    model.save_pretrained(out)
    tokenizer(source).save_pretrained(out)


def save_packed(model: Any, source: Path, out: Path, *, dtype: str) -> None:
    """Writes a pack-quantized checkpoint and the tokenizer of ``source``.

    The model is of no use afterwards: llm-compressor packs it in place.
    """
    # packed before anything is rounded, so that each code is the one that was chosen
    ModelCompressor.from_pretrained_model(model).compress_model(model)
    model.to(dtype_of(dtype)).save_pretrained(out, save_compressed=True)
    # names Python classes; the parameters of the stage say the same in plain words
    (out / "recipe.yaml").unlink(missing_ok=True)
    tokenizer(source).save_pretrained(out)
