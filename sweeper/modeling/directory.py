"""Which files of a directory are the model: those that its index (or its one file) names.

People keep much beside a model: weights in other formats, training checkpoints, notes, scores.
None of it is read, counted, copied or part of the model's identity.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
CONFIG = "config.json"
GENERATION = "generation_config.json"
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "source.spm",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "*.tiktoken",
    "additional_chat_templates/*.jinja",
)
"""Everything that decides how text becomes tokens; patterns where names differ."""
CODE = "*.py"


def weights(folder: Path) -> list[Path]:
    """The safetensors files that transformers loads from a directory, by name.

    The one file where there is one, else those of the index; they need not exist.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    named = set(json_of(folder / INDEX).get("weight_map", {}).values())
    return [folder / name for name in sorted(named)]


def tokenizer(folder: Path) -> list[Path]:
    """The files of the tokenizer that lies in a directory, by name."""
    return _there(folder, TOKENIZER)


def files(folder: Path, *, code: bool = False) -> list[Path]:
    """All files that are the model, by name; ``code``: with its own Python code."""
    index = [] if (folder / WEIGHTS).is_file() else [INDEX]
    names = [CONFIG, GENERATION, *index, *TOKENIZER, *([CODE] if code else [])]
    return sorted({*_there(folder, names), *weights(folder)})


def copy(paths: Iterable[Path], source: Path, out: Path) -> None:
    """Copies files of a directory, byte for byte, over what may be in another one."""
    for path in paths:
        target = out / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def header(file: Path) -> dict[str, dict[str, Any]]:
    """Tensor -> dtype, shape and place, from the header of a safetensors file."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        found = json.loads(stream.read(length))
    return {name: info for name, info in found.items() if name != "__metadata__"}


def tensors(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the headers of the model's weights say of every tensor."""
    for file in weights(folder):
        yield from header(file).items()


def json_of(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _there(folder: Path, names: Iterable[str]) -> list[Path]:
    return sorted({path for name in names for path in folder.glob(name) if path.is_file()})
