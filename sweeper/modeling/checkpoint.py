"""Loads, checks and saves the transformers checkpoints that stages hand on to each other."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from compressed_tensors import ModelCompressor
from transformers import CompressedTensorsConfig, GenerationConfig

from sweeper.errors import StageFailure, several
from sweeper.modeling import directory, low_rank_format, matrices, model_cache
from sweeper.modeling import tokenizer as tokenizers

log = logging.getLogger(__name__)


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
    cast(model, dtype_of(dtype))
    require_rows(model)
    return (model if quantization is not None else model.to(device)).eval()


def cast(model: Any, dtype: torch.dtype) -> None:
    """Give a model the dtype that it was to have: what is renamed on load keeps that of the file.

    So do all weights of some quantized models whose language model is a part of them. Weights that
    an architecture wants in float32 stay so, but embeddings and head, which all others meet.
    """
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        weight = getattr(module, "weight", None)
        if weight is not None and weight.is_floating_point() and weight.dtype != dtype:
            module.to(dtype)
    if not getattr(model, "is_loaded_in_4bit", False) | getattr(model, "is_loaded_in_8bit", False):
        for parameter in model.parameters():
            if parameter.dtype in _SHORT - {dtype}:
                parameter.data = parameter.data.to(dtype)


_SHORT = {torch.bfloat16, torch.float16}


def require_rows(model: Any) -> None:
    """From now on refuse tokens that the embedding of a model has no row for, by number.

    A tokenizer may have entries beyond its model's embedding, which text seldom holds. Without
    this a GPU ends the whole process with an assertion, and a CPU names no token.
    """
    embedding = model.get_input_embeddings()

    def check(_module: Any, args: tuple[Any, ...]) -> None:
        ids, rows = args[0] if args else None, int(embedding.weight.shape[0])
        if ids is None or ids.is_meta or not ids.numel():
            return
        last = int(ids.max())
        if last >= rows:
            raise StageFailure(
                f"the text holds the token {last}, and the embedding of this model has {rows} "
                "rows: take that token out of the text (or the tokenizer is another model's)."
            )

    embedding.register_forward_pre_hook(check)


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


def trusted(params: Mapping[str, Any]) -> bool:
    """Whether a stage may run the code that lies beside its model."""
    return bool(params.get("model", {}).get("trust_remote_code", False))


def tokenizer(path: Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer that lies beside a checkpoint."""
    return tokenizers.load(path, trust_remote_code=trust_remote_code)


def linears(model: Any) -> dict[str, Any]:
    """The matrices that are pruned and quantized, by name.

    Raises:
        StageFailure: no method can treat this architecture.
    """
    found = matrices.listed(model)
    if found.refusal is not None:
        raise StageFailure(f"{type(model).__name__} cannot be compressed: {found.refusal}.")
    return dict(found.treated)


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


def save_dense(
    model: Any, source: Path, out: Path, *, dtype: str, trust_remote_code: bool = False
) -> list[str]:
    """Writes a plain checkpoint (no compression config); see `_save`."""
    # the class's own method: oneshot replaces the instance's by one that adds configs
    plain = type(model).save_pretrained
    model.to(dtype_of(dtype))
    return _save(model, source, out, partial(plain, model, out), code=trust_remote_code)


def save_as_it_is(
    model: Any, source: Path, out: Path, *, trust_remote_code: bool = False
) -> list[str]:
    """Writes a model that transformers quantized; see `_save`."""
    return _save(model, source, out, partial(model.save_pretrained, out), code=trust_remote_code)


def save_packed(
    model: Any, source: Path, out: Path, *, dtype: str, trust_remote_code: bool = False
) -> list[str]:
    """Writes a pack-quantized checkpoint; see `_save`.

    The model is of no use afterwards: llm-compressor packs it in place.
    """
    # packed before anything is rounded, so that each code is the one that was chosen
    ModelCompressor.from_pretrained_model(model).compress_model(model)
    model.to(dtype_of(dtype))
    write = partial(model.save_pretrained, out, save_compressed=True)
    left = _save(model, source, out, write, code=trust_remote_code)
    _ignore(out, matrices.beside(model))
    # names Python classes; the parameters of the stage say the same in plain words
    (out / "recipe.yaml").unlink(missing_ok=True)
    return left


def _save(
    model: Any, source: Path, out: Path, write: Callable[[], Any], *, code: bool
) -> list[str]:
    """Writes a model, and beside it the own files of its ``source``, byte for byte.

    Those are the tokenizer, the generation defaults and, with ``code``, its Python files.
    Generation defaults that contradict themselves cannot be saved by transformers; what has no
    effect in them is left out.

    Returns:
        What was left out, in words; empty if nothing was.
    """
    left = _mended(model)
    write()
    own = directory.tokenizer(source)
    if not left:
        own += [path for path in [source / directory.GENERATION] if path.is_file()]
    if code:
        own += sorted(source.glob(directory.CODE))
    directory.copy(own, source, out)
    return left


def _ignore(out: Path, names: Sequence[str]) -> None:
    """Name every linear layer that is dense in the configuration of a packed checkpoint.

    compressed-tensors leaves out those of a subclass of Linear, names the others as the files do,
    and takes what the loaded model calls otherwise for packed.
    """
    config = directory.json_of(out / directory.CONFIG)
    said = config["quantization_config"]["ignore"]
    left = [name for name in names if name not in said]
    if left:
        said += left
        text = json.dumps(config, indent=2, sort_keys=True)
        (out / directory.CONFIG).write_text(text + "\n", encoding="utf-8")


def _mended(model: Any) -> list[str]:
    """Leaves out of a model's generation defaults what transformers refuses to save.

    It refuses settings of sampling without ``do_sample``, which many checkpoints have and
    which do nothing.
    """
    given = model.generation_config
    if given is None or _valid(given):
        return []
    plain = GenerationConfig().to_dict()
    said = {k: v for k, v in given.to_diff_dict().items() if k != "transformers_version"}
    kept = {k: v for k, v in said.items() if k.endswith("_token_id") or k == "max_length"}
    for name, value in said.items():
        tried = kept | {name: value}
        if name not in kept and _valid(GenerationConfig(**tried)):
            kept = tried
    model.generation_config = GenerationConfig(**kept)
    gone = [f"{k}={v}" for k, v in said.items() if k not in kept and plain.get(k) != v]
    note = f"generation_config.json without {', '.join(gone)}, which have no effect in it"
    log.warning(note)
    return [note]


def _valid(config: Any) -> bool:
    try:
        config.validate(strict=True)
    except ValueError:
        return False
    return True
