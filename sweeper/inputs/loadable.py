"""Whether a checkpoint directory is a language model that can be compressed and scored.

Everything that its configuration, its headers and its tokenizer already tell is refused while
planning, once, with what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeper.errors import BadInput, several
from sweeper.inputs import look
from sweeper.inputs.look import Look
from sweeper.modeling import directory, integrity, shapes

_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin")
_ADAPTER = "adapter_config.json"
_OTHER_HEAD = re.compile(
    r"(For(?!CausalLM|ConditionalGeneration)[A-Z]\w*|(?<!LMHead)Model|Encoder)$"
)

Reason = tuple[str, str]
"""(what it is, what to do)."""


def has_weights(path: Path) -> bool:
    """Whether weights lie in a directory, in whatever form."""
    return bool(directory.weights(path)) or bool(_pickles(path))


def checked(path: Path, key: str, value: str, *, trust: bool, quantized: bool = False) -> Look:
    """The look at a checkpoint directory.

    Args:
        path: the directory.
        key: the configuration key that named it.
        value: what was given for that key.
        trust: whether its own code may run.
        quantized: whether its weights may be codes.

    Raises:
        BadInput: it is none, not whole, or no model that can be compressed and scored.
    """
    try:
        broken = integrity.trouble(path) if path.is_dir() else None
    except PermissionError as error:
        what = f"this user may not read {error.filename}."
        raise BadInput(key, value, what, "Have its owner run: chmod -R a+rX DIRECTORY") from error
    except (ValueError, KeyError, TypeError, AttributeError, MemoryError) as error:
        broken = f"its files cannot be read ({type(error).__name__}: {error})"
    if broken:
        what = f"this checkpoint is not whole: {broken}."
        raise BadInput(key, value, what, "Fetch or copy it again.")
    for what, cure in _by_its_files(path, quantized=quantized):
        raise BadInput(key, value, f"{what}.", cure)
    seen = look.at(path, trust_remote_code=trust)
    for what, cure in (
        *_by_its_look(path, seen),
        *([] if quantized else _by_its_weights(path, seen)),
    ):
        raise BadInput(key, value, f"{what}.", cure)
    return seen


def _by_its_files(path: Path, *, quantized: bool) -> Iterator[Reason]:
    adapter, weights = (path / _ADAPTER).is_file(), directory.weights(path)
    if adapter and not weights:
        base = directory.json_of(path / _ADAPTER).get("base_model_name_or_path") or "its base"
        yield f"it is an adapter of {base}, without a model", _MERGE
    if _pickles(path) and not weights:
        yield (
            "its weights are pickles (pytorch_model*.bin), which could run any code and are not "
            "read",
            "Convert them: load it with transformers and save_pretrained() it, or take a "
            "revision with *.safetensors.",
        )
    if not weights or not (path / directory.CONFIG).is_file():
        yield (
            "this is not a checkpoint directory: config.json and model.safetensors (or "
            f"{directory.INDEX}) are needed",
            f"Looked in {path}.",
        )
    if adapter:
        yield "an adapter lies beside its weights, and transformers would load both", _MERGE
    config = directory.json_of(path / directory.CONFIG)
    if not quantized and (by := _quantized_by(config)):
        yield (
            f"its weights are quantized already ({by})",
            _DENSE,
        )
    if not config.get("model_type"):
        yield "config.json has no model_type, so its architecture is not known", _CONFIGURE
    yield from _architecture(config)


def _architecture(config: dict[str, Any]) -> Iterator[Reason]:
    named = config.get("architectures") or []
    other = [name for name in named if _OTHER_HEAD.search(name)]
    own = "AutoModelForCausalLM" in (config.get("auto_map") or {})  # classes of any name
    if other and len(other) == len(named) and not own:
        yield (
            f"it is a {', '.join(other)}: no model that predicts the next token",
            "Give a causal language model.",
        )
    if config.get("is_encoder_decoder"):
        yield "it is an encoder with a decoder", "Give a model that is a decoder alone."


def _by_its_look(path: Path, seen: Look) -> Iterator[Reason]:
    if seen.trouble:
        if "not trusted" in seen.trouble:
            yield seen.trouble, "Read that code, then set model.trust_remote_code=true."
        else:
            yield f"transformers cannot build it: {seen.trouble.rstrip('.')}", _CONFIGURE
    if seen.tokenizer_trouble:
        there = ", ".join(file.name for file in directory.tokenizer(path))
        why = f"its tokenizer cannot be loaded: {seen.tokenizer_trouble.rstrip(':. ')}"
        yield (
            why if there else "it has no tokenizer",
            "Copy tokenizer.json and tokenizer_config.json of the model that it was made of.",
        )


def _by_its_weights(path: Path, seen: Look) -> Iterator[Reason]:
    codes = [name for name in seen.left_over if name.endswith(_CODES)]
    coded = shapes.precisions(path, seen.matrices) - _PLAIN
    if codes:
        yield f"its weights are quantized already ({codes[0]}, of GPTQ or AWQ)", _DENSE
    if coded:
        yield f"its weights are quantized already ({', '.join(sorted(coded))})", _DENSE
    if seen.missing:
        lacking = several(seen.missing, 3)
        yield f"its files lack weights that its config.json speaks of: {lacking}", _CONFIGURE
    if seen.misshapen:
        other = several(seen.misshapen, 3)
        yield f"weights have another size than its config.json says: {other}", _CONFIGURE


def _quantized_by(config: dict[str, Any]) -> str | None:
    found = config.get("quantization_config") or config.get("compression_config")
    return str(found.get("quant_method") or "compressed-tensors") if found else None


def _pickles(path: Path) -> list[Path]:
    return [file for pattern in _PICKLES for file in path.glob(pattern)]


_MERGE = "Merge it into its base first (peft: merge_and_unload(), then save_pretrained())."
_DENSE = (
    "Name the model that it was made of; its scores can be had with model.compressed or "
    "`isorate import`."
)
_CODES = (".qweight", ".qzeros", ".weight_packed")
_PLAIN = {"F64", "F32", "F16", "BF16"}
_CONFIGURE = "Fetch its config.json again; a newer architecture needs a newer transformers."
