"""The text that methods are calibrated on: what it is, and that there is enough of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from sweeper.config.section import Frozen
from sweeper.errors import BadInput, Refused, one_of
from sweeper.inputs import jsonl, resolve
from sweeper.inputs.pins import Pins
from sweeper.store import hashing

_TEXTS = (".txt", ".jsonl", ".parquet")
_ROWS_LOOKED_AT = 20_000
_CONVERT = "Convert it: iconv -f ENCODING -t UTF-8"


def resolved(section: Frozen, pins: Pins) -> tuple[dict[str, Any], str | None]:
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


def check_tokens(section: Frozen, found: resolve.Model) -> None:
    """Refuse too little text by the model's own tokenizer, where that is on this machine.

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
        folder = resolve.cached_snapshot(found.source, found.meaning["revision"]) or folder
    path = hashing.located(section["path"], "calibration.path") if section["path"] else None
    if path is None or not (folder / "tokenizer.json").is_file():
        return
    # A sample may begin with a token of the model's own.
    needed = section["samples"] * (section["length"] - 1)
    count = _tokens(tuple(_texts(path)), section["field"], folder / "tokenizer.json", needed)
    if count < needed:
        raise _too_little(section, path, f"{count} tokens")


@cache
def _tokens(files: tuple[Path, ...], field: str, tokenizer: Path, enough: int) -> int:
    """Number of tokens in the files; stops counting once there are ``enough``."""
    from tokenizers import Tokenizer

    encode, count = Tokenizer.from_file(str(tokenizer)).encode, 0
    for file in files:
        for text in _pieces(file, field):
            count += len(encode(text, add_special_tokens=False).ids)
            if count >= enough:
                return count
    return count


def _pieces(file: Path, field: str) -> Iterator[str]:
    """The text of a file, in pieces that are quickly encoded; a row may end with one more token."""
    if file.suffix == ".txt":
        yield from file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    elif file.suffix == ".jsonl":
        yield from (f"{text}\n" for text in jsonl.texts(file, field))
    else:
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(file).iter_batches(columns=[field]):
            yield from (f"{text}\n" for text in batch[0].to_pylist() if text is not None)


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
