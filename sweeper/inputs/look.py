"""What planning knows of a model beside its headers: a look that is taken once, then remembered.

transformers takes seconds to import, so it looks in a process of its own, and what it found is
kept in this user's cache under a hash of everything that was looked at.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from isorate.pinning import program, search_path
from sweeper.modeling import directory
from sweeper.store import files, hashing

FORMAT = 3
"""Raised when something else is looked at or found."""
_LIBRARIES = ("transformers", "tokenizers", "torch")
_PATIENCE_S = 600
_TUPLES = ("kinds", "outside", "unread", "missing", "misshapen", "left_over")


@dataclass(frozen=True, kw_only=True)
class Look:
    """What transformers makes of a checkpoint directory.

    Attributes:
        trouble: why it is no causal language model that can be built; None if it is one.
        architecture: class of the model.
        kinds: classes of its linear layers: Linear, or subclasses.
        refusal: why no method can treat its matrices; None if methods can.
        matrices: tensor in the files -> module path, of each matrix that methods treat.
        outside: linear layers beside the stack of decoder layers, which stay dense.
        missing: weights of the model that the files do not have.
        misshapen: weights that have another size in the files.
        left_over: tensors of the files that are no part of the model.
        norms: norm in a decoder layer -> the matrices that read its output as it is; None where
            that cannot be told without weights.
        unread: matrices whose weights the model takes without calling the layer.
        in_order: whether decoder layers are called one after the other; None where that cannot
            be told without weights.
        bare_logits: whether logits are what the output head gives, neither scaled nor capped;
            likewise.
        rows: of its input embedding.
        positions: the longest text that it takes, where its configuration limits that.
        tokenizer_trouble: why its tokenizer cannot be loaded; None if it can.
        tokenizer_by_file: whether the class that its configuration names splits text in another
            way than its file, which is then used.
        chat_template: whether the tokenizer has one.
    """

    trouble: str | None = None
    architecture: str = ""
    kinds: tuple[str, ...] = ()
    refusal: str | None = None
    matrices: Mapping[str, str] = field(default_factory=dict)
    outside: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    norms: Mapping[str, list[str]] | None = None
    unread: tuple[str, ...] = ()
    in_order: bool | None = None
    bare_logits: bool | None = None
    rows: int = 0
    positions: int | None = None
    tokenizer_trouble: str | None = None
    tokenizer_by_file: bool = False
    chat_template: bool = False


def at(folder: Path, *, trust_remote_code: bool = False) -> Look:
    """The look at a checkpoint directory: remembered, or taken now (some seconds)."""
    return _at(folder, trust_remote_code, _digest(folder, trust_remote_code))


@cache
def _at(folder: Path, trust: bool, digest: str) -> Look:
    kept = hashing.cache_directory() / "looks" / f"{digest}.json"
    try:
        return _read(files.read_json(kept))
    except (OSError, ValueError, TypeError):
        pass
    found = _taken(folder, trust)
    with suppress(OSError):  # a home directory that cannot be written: it is looked at again
        files.write_whole(kept, found)
    return _read(found)


def _read(found: Mapping[str, Any]) -> Look:
    names = {each.name for each in fields(Look)}
    if set(found) - names:
        raise ValueError
    return Look(**{**found, **{name: tuple(found.get(name, ())) for name in _TUPLES}})


def _taken(folder: Path, trust: bool) -> dict[str, Any]:
    if "torch" in sys.modules and "transformers" in sys.modules:
        from sweeper.modeling import examine

        return examine.examined(folder, trust_remote_code=trust)
    command = [*program("sweeper.modeling.examine"), str(folder)]
    done = subprocess.run(
        command + ["--trust-remote-code"] * trust,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": search_path()},
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return {"trouble": f"transformers ended while it looked at it ({last[:300]})"}
    return found


def _digest(folder: Path, trust: bool) -> str:
    """Of all that a look depends on: small files, and what the headers of the weights say."""
    whole = hashlib.sha256()
    libraries = [f"{name}={version(name)}" for name in _LIBRARIES]
    whole.update(json.dumps([FORMAT, trust, libraries]).encode())
    weights = directory.weights(folder)
    code = sorted(folder.glob(directory.CODE))  # named even where it is not trusted
    for file in sorted({*directory.files(folder), *code} - set(weights)):
        whole.update(f"{file.relative_to(folder)}\0{hashing.file_digest(file)}\n".encode())
    for name, info in sorted(directory.tensors(folder)):
        whole.update(f"{name}\0{info['shape']}\n".encode())
    return whole.hexdigest()[:32]
