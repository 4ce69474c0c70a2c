"""What a cell stands on outside the store: its model and its calibration text.

Each is resolved once while planning: where it is on this machine, and what it *is* (a
content digest, or a hub id with its revision), which is what enters a stage's hashing.
Nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from sweeper.config.section import Frozen
from sweeper.errors import BadInput, Refused, one_of, several
from sweeper.inputs import gguf, hub_cache, jsonl, loadable, look
from sweeper.inputs.pins import Pins
from sweeper.modeling import directory as folders
from sweeper.modeling import integrity, shapes
from sweeper.store import hashing

_TEXTS = (".txt", ".jsonl", ".parquet")
_ROWS_LOOKED_AT = 20_000
_CONVERT = "Convert it: iconv -f ENCODING -t UTF-8"
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


def calibration(section: Frozen, pins: Pins) -> tuple[dict[str, Any], str | None]:
    """(what the calibration is, where it is): for a stage's identity, and a path if local.

    Raises:
        BadInput: no text, no samples, too little text, or a path that does not exist.
    """
    for name in ("samples", "length"):
        if section[name] < 1:
            raise BadInput(f"calibration.{name}", section[name], "at least 1 is needed.")
    meaning = {name: section[name] for name in ("samples", "length", "seed", "field")}
    if section["path"] is not None:
        path = hashing.located(section["path"], "calibration.path")
        _check_text(section, path)
        return meaning | {"sha256": hashing.tree_digest(path)}, str(path)
    if section["dataset"] is None:
        raise BadInput(
            "calibration", section["name"], "calibration.path or calibration.dataset is needed."
        )
    names = ("subset", "data_files", "revision", "split")
    given = {name: section[name] for name in names if section[name] is not None}
    if pinned := pins.dataset(section["dataset"], section["revision"]):
        given["revision"] = pinned
    return meaning | {"id": section["dataset"]} | given, None


def _check_text(section: Frozen, path: Path) -> None:
    """Refuse what is no text, and what is certainly too little: a token takes at least a byte."""
    files = _texts(path)
    for file in files:
        if found := _no_text(file, section["field"]):
            raise BadInput(*found)
    size = sum(p.stat().st_size for p in files)
    if all(p.suffix != ".parquet" for p in files) and size < section["samples"] * section["length"]:
        raise _too_little(section, path, f"{size} bytes")


def _no_text(file: Path, field: str) -> tuple[str, str, str, str] | None:
    """(key, value, what is valid, what to do) where a file is none that holds text."""
    try:
        if file.suffix == ".txt":
            file.read_text(encoding="utf-8")
        elif file.suffix == ".jsonl":
            for _ in islice(jsonl.texts(file, field), _ROWS_LOOKED_AT):
                pass
        else:
            import pyarrow.parquet as pq

            schema = pq.read_schema(file)
            if field not in schema.names or "string" not in str(schema.field(field).type):
                columns = one_of([n for n in schema.names if "string" in str(schema.field(n).type)])
                return "calibration.field", field, f"{columns}, the texts of {file.name}.", ""
    except UnicodeDecodeError as error:
        return "calibration.path", str(file), f"it is not UTF-8 text ({error}).", _CONVERT
    except (ValueError, OSError) as error:
        what = f"it has no column {field!r} of text ({error})."
        return "calibration.path", str(file), what, "Set calibration.field, or mend that row."
    return None


def check_tokens(section: Frozen, found: Model) -> None:
    """Refuse too little text by the model's own tokenizer, where that is on this machine.

    Plain text only; rows of .jsonl and .parquet are counted by the stage that reads them.

    Raises:
        BadInput: fewer tokens than the samples need.
        Refused: samples longer than the texts that the model takes.
    """
    limit = found.seen.positions if found.seen else None
    if limit is not None and section["length"] > limit:
        raise Refused(
            BadInput(
                "calibration.length",
                section["length"],
                f"the model takes texts of at most {limit} tokens.",
                "Take shorter samples.",
            )
        )
    folder = Path(found.source)
    if not folder.is_dir() and "id" in found.meaning:
        folder = cached_snapshot(found.source, found.meaning["revision"]) or folder
    path = hashing.located(section["path"], "calibration.path") if section["path"] else None
    if path is None or not (folder / "tokenizer.json").is_file():
        return
    files = [file for file in _texts(path) if file.suffix == ".txt"]
    # A sample may begin with a token of the model's own.
    needed = section["samples"] * (section["length"] - 1)
    count = _tokens(tuple(files), folder / "tokenizer.json", needed) if files else needed
    if count < needed:
        raise _too_little(section, path, f"{count} tokens")


@cache
def _tokens(files: tuple[Path, ...], tokenizer: Path, enough: int) -> int:
    """Number of tokens in the files; stops counting once there are ``enough``."""
    from tokenizers import Tokenizer

    encode, count = Tokenizer.from_file(str(tokenizer)).encode, 0
    for file in files:
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            count += len(encode(line, add_special_tokens=False).ids)
            if count >= enough:
                return count
    return count


def _texts(path: Path) -> list[Path]:
    """The files that the text is in.

    Raises:
        BadInput: none, of those that are read.
    """
    found = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    if not found or found[0].suffix not in _TEXTS:
        raise BadInput(
            "calibration.path",
            str(path),
            "valid: .txt, .jsonl or .parquet (compressed ones unpacked), or a directory of .txt.",
            "Convert it to one of these.",
        )
    return found


def _too_little(section: Frozen, path: Path, there: str) -> BadInput:
    needed = section["samples"] * section["length"]
    return BadInput(
        "calibration.samples",
        section["samples"],
        f"{section['samples']} samples of {section['length']} tokens need {needed} tokens, "
        f"but {path.name} has only {there}.",
        "Take fewer or shorter samples, or more text.",
    )
