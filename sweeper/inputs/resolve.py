"""The model that a cell stands on: where it is on this machine, and what it *is*.

That (a content digest, or a hub id with its revision) is what enters a stage's hashing. Nothing is
fetched. The calibration text: `sweeper.inputs.calibration_text`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.config.section import Frozen
from sweeper.errors import BadInput, one_of, several
from sweeper.inputs import gguf, hub_cache, loadable, look
from sweeper.inputs.pins import Pins
from sweeper.modeling import directory as folders
from sweeper.modeling import integrity, shapes
from sweeper.store import hashing

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Model:
    """A resolved model.

    Attributes:
        meaning: what enters the identity of stages that read it ("id" and "revision" of
            the hub, or a content digest).
        source: where it is: a directory, a GGUF file, or the hub id itself.
        is_gguf: whether it has to be converted first.
        shapes: its matrices.
        seen: what transformers makes of it, where it is a directory on this machine.
        notes: what is odd about it and harmless.
        pieces: the other pieces of a GGUF file that comes in several.
    """

    meaning: dict[str, Any]
    source: str
    is_gguf: bool
    shapes: shapes.Shapes
    seen: look.Look | None = None
    notes: tuple[str, ...] = ()
    pieces: tuple[str, ...] = ()


class NotFetched(BadInput):
    """A hub model of which nothing is on this machine, not even its dimensions."""

    def __init__(self, section: Frozen) -> None:
        self.name, self.revision = section["id"], section["revision"]
        self.trust_remote_code = section["trust_remote_code"]
        super().__init__(
            "model.id",
            self.name,
            "neither a checkpoint directory nor a model in the local hub cache.",
            "Give the path of a checkpoint, run `isorate prefetch`, or set model.architecture.",
        )


def model(section: Frozen, pins: Pins) -> Model:
    """Resolve the `model` section; a model of the hub at its pinned revision, if it has one.

    Raises:
        NotFetched: a hub model whose dimensions are neither configured nor cached.
        BadInput: a path that is no checkpoint, or a format that does not exist.
    """
    given = section["id"]
    for name in ("name", "id"):
        if not section[name].isprintable():
            raise BadInput(f"model.{name}", repr(section[name]), "valid: no control characters.")
    check_choice("model.format", section["format"], ("hf", "gguf"))
    for name in ("compute_dtype", "save_dtype"):
        check_choice(f"model.{name}", section[name], DTYPES)
    if section["format"] == "gguf":
        return _gguf(section)
    path = Path(given).expanduser()
    if path.exists() or given.startswith((".", "/", "~")):
        return directory(section, path.absolute())
    return _hub(section, given, pins)


def check_choice(key: str, value: str, valid: Sequence[str]) -> None:
    """Refuse a value that is none of those that exist."""
    if value not in valid:
        raise BadInput(key, value, one_of(valid) + ".")


def _gguf(section: Frozen) -> Model:
    found = gguf.found(section)
    first, *others = map(str, found.files)
    return Model(found.meaning, first, True, _configured_shapes(section), pieces=tuple(others))


def directory(section: Frozen, path: Path, key: str = "model.id") -> Model:
    """A checkpoint in a directory; ``key`` is what named it.

    Raises:
        BadInput: it is none, not whole, or no model that can be compressed and scored.
    """
    code = section["trust_remote_code"]
    seen = loadable.checked(path, key, str(path), trust=code, quantized=key != "model.id")
    meaning = {"sha256": hashing.files_digest(path, folders.files(path, code=code))}
    return _seen(section, path, str(path), meaning, seen)


def _seen(
    section: Frozen, path: Path, source: str, meaning: dict[str, Any], seen: look.Look
) -> Model:
    notes = list(integrity.notes(path))
    if seen.tokenizer_by_file:
        # the same files were split in another way before
        meaning = meaning | {"tokenizer": "file"}
        notes.append(
            "tokenizer_config.json names a class that splits text in another way than "
            "tokenizer.json does; the file is used"
        )
    if seen.left_over:
        notes.append(f"no part of the model, and left out: {several(seen.left_over, 3)}")
    if seen.outside:
        # they were quantized once, with scales that nobody had set
        meaning = meaning | {"matrices": "decoder"}
        notes.append(f"dense stays what lies beside its decoder layers: {several(seen.outside, 3)}")
    return Model(
        meaning=meaning | trust(section),
        source=source,
        is_gguf=False,
        shapes=shapes.from_checkpoint(path, seen.matrices),
        seen=seen,
        notes=tuple(notes),
    )


def _hub(section: Frozen, given: str, pins: Pins) -> Model:
    pinned = pins.model(given, section["revision"])
    snapshot = cached_snapshot(given, pinned or section["revision"])
    revision = pinned or (snapshot.name if snapshot else section["revision"])
    meaning = {"id": given, "revision": revision}
    if snapshot and loadable.has_weights(snapshot):
        code = section["trust_remote_code"]
        seen = loadable.checked(snapshot, "model.id", given, trust=code)
        return _seen(section, snapshot, given, meaning, seen)
    return Model(meaning | trust(section), given, False, _configured_shapes(section))


def trust(section: Frozen) -> dict[str, Any]:
    """What enters the identity of every stage of a model whose own code runs."""
    return {"trust_remote_code": True} if section["trust_remote_code"] else {}


def _configured_shapes(section: Frozen) -> shapes.Shapes:
    if section["architecture"] is None:
        raise NotFetched(section)
    return shapes.from_architecture(section["architecture"])


def cached_snapshot(hub_id: str, revision: str) -> Path | None:
    """Directory of a hub model in the local cache, found without the hub's library."""
    snapshot = hub_cache.snapshot("models", hub_id, revision)
    return snapshot if snapshot and (snapshot / "config.json").is_file() else None
