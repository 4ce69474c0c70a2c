"""The calibration samples: exactly n, all of one length, the same wherever they are drawn.

Text files are read whole and cut into windows, of which the seed picks n. Rows (.jsonl,
.parquet, a Hugging Face data set) are packed in an order that the seed decides, until
there are enough. No library's random numbers are involved: the order is that of hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sweeper.errors import BadInput
from sweeper.inputs import jsonl
from sweeper.stages import Job
from sweeper.store.files import sha256

Spec = Mapping[str, Any]


def fingerprint(path: Path) -> str:
    """SHA-256 of a file; of a directory, over the names and hashes of all files below it."""
    if path.is_file():
        return sha256(path)
    found = sorted(p for p in path.rglob("*") if p.is_file())
    lines = [f"{p.relative_to(path).as_posix()}\0{sha256(p)}\n" for p in found]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def samples(spec: Spec, tokenizer: Any, source: Path | None = None) -> torch.Tensor:
    """Token ids, int64 [samples, length].

    Args:
        spec: ``samples``, ``length`` and ``seed``; and ``sha256`` of a local source, or
            ``id``, ``revision``, ``split`` (and ``subset``, ``data_files``) of a data set
            in the Hugging Face cache. ``field`` names the column of text (default: text).
        tokenizer: the model's.
        source: a .txt file, a directory of them, a .jsonl or a .parquet file.

    Raises:
        BadInput: not text, changed since it was planned, or too little of it.
    """
    count, length = int(spec["samples"]), int(spec["length"])
    # a model that starts its texts with a token (Llama's BOS) must see it in each sample
    prefix = _prefix(tokenizer)
    need = count * (length - len(prefix))
    where = str(source) if source is not None else str(spec["id"])
    tokens = _stream(spec, tokenizer, source, need)
    width = length - len(prefix)
    windows = [tokens[i : i + width] for i in range(0, len(tokens) - width + 1, width)]
    if len(windows) < count:
        raise BadInput(
            "calibration",
            where,
            f"it has {len(tokens)} tokens, {need} are needed ({count} samples of {length}).",
            "Give more text, or lower calibration.samples or calibration.length.",
        )
    chosen = seeded_order(len(windows), int(spec["seed"]))[:count]
    return torch.tensor([prefix + windows[i] for i in chosen], dtype=torch.int64)


def of(job: Job, tokenizer: Any) -> torch.Tensor:
    """The samples of a stage; see `samples`."""
    return samples(job.params["calibration"], tokenizer, job.sources.get("calibration"))


def seeded_order(count: int, seed: int) -> list[int]:
    """A permutation of range(count) that depends on nothing but its arguments."""
    return sorted(range(count), key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())


def _prefix(tokenizer: Any) -> list[int]:
    start = tokenizer("")["input_ids"][:1]
    return start if start == [tokenizer.bos_token_id] else []


def _stream(spec: Spec, tokenizer: Any, source: Path | None, need: int) -> list[int]:
    """Token ids of the documents, each ended by EOS where the tokenizer has one."""
    if source is not None and spec.get("sha256") not in (None, fingerprint(source)):
        raise BadInput(
            "calibration", source, "the file changed since the sweep was planned.", "Plan again."
        )
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    plain = source is not None and (source.is_dir() or source.suffix == ".txt")
    tokens: list[int] = []
    for document in _documents(spec, source):
        tokens += tokenizer(document, add_special_tokens=False, verbose=False)["input_ids"] + end
        if not plain and len(tokens) >= need:
            break
    return tokens


def _documents(spec: Spec, source: Path | None) -> Iterator[str]:
    """The documents: text files by name, rows in seeded order."""
    if source is not None and (source.is_dir() or source.suffix == ".txt"):
        yield from (_read(p) for p in _texts(source))
        return
    rows = _rows(spec, source)
    for index in seeded_order(len(rows), int(spec["seed"])):
        yield rows[index]


def _texts(path: Path) -> list[Path]:
    found = [path] if path.is_file() else sorted(path.rglob("*.txt"))
    if not found:
        raise BadInput(
            "calibration.path", path, "valid: .txt, .jsonl, .parquet, or a directory of .txt files."
        )
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput("calibration.path", path, f"it is not UTF-8 text ({error}).") from error


def _rows(spec: Spec, source: Path | None) -> Sequence[str]:
    """The texts of a .jsonl or .parquet file, or of a data set in the cache."""
    field = spec.get("field", "text")
    try:
        if source is None:
            return _dataset(spec)[field]  # type: ignore[no-any-return]
        if source.suffix == ".jsonl":
            return list(jsonl.texts(source, field))
        if source.suffix == ".parquet":
            import pyarrow.parquet as pq

            column: list[str | None] = pq.read_table(source, columns=[field])[field].to_pylist()
            return [text for text in column if text is not None]
    except (KeyError, ValueError) as error:
        raise BadInput(
            "calibration", source or spec["id"], f"it has no column {field!r} of text ({error})."
        ) from error
    raise BadInput(
        "calibration.path", source, "valid: .txt, .jsonl, .parquet, or a directory of .txt files."
    )


def _dataset(spec: Spec) -> Any:
    from sweeper.inputs.datasets import load_dataset

    return load_dataset(
        spec["id"],
        name=spec.get("subset"),
        data_files=spec.get("data_files"),
        revision=spec.get("revision"),
        split=spec["split"],
    )
