"""Scores of documents, kept twice, so that one that changed is found and named.

`documents.jsonl` is the record: a document a line. `answers.json` repeats, column by column,
what tables and verdicts rest on, with a digest of each line; so a change on either side names its
document, with what was recorded and what is there. It also says which metrics follow from the
documents by a formula that is known here:

    "mean"        mean of the column; standard error: standard deviation over sqrt(n)
    "perplexity"  exp(-sum / weight); standard error by the delta method of a ratio
    "bits"        -sum / weight / ln 2; standard error likewise
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Json = Mapping[str, Any]
Row = dict[str, Any]

LEFT_OUT = ("text", "seconds")
"""Columns of documents that no number rests on: whole generations, and how long they took."""
_IDENTITY = ("doc_id", "doc_hash", "target_hash")
_DIGEST = "record"
_NOT_SCORES = frozenset(
    (
        *_IDENTITY,
        "prompt_hash",
        "position",
        "block",
        "cluster",
        "prediction",
        "extracted",
        "likelihoods",
        "broken",
        "tokens",
        "subtask",
    )
)
_CLOSE = 1e-9


class Changed(NamedTuple):
    """One value of one document that is not what was recorded."""

    document: str
    column: str
    recorded: str
    found: str


def lines(documents: pd.DataFrame) -> bytes:
    """The record of an evaluation: a JSON object a line, in the order of the documents' ids."""
    kept = documents.drop(columns=[c for c in LEFT_OUT if c in documents])
    found = kept.sort_values("doc_id").to_dict("records")
    return b"".join(_line({str(k): v for k, v in row.items()}) + b"\n" for row in found)


def rows(data: bytes) -> list[Row]:
    """The documents of a record.

    Raises:
        ValueError: a line is no JSON object.
    """
    found = [json.loads(line) for line in data.splitlines()]
    if not all(isinstance(row, dict) for row in found):
        raise ValueError("a line is no JSON object")
    return found


def table(data: bytes) -> pd.DataFrame:
    """The documents of a record as `analysis.data.documents` reads them."""
    import pandas as pd

    return pd.DataFrame(rows(data))


def copy(data: bytes, metrics: Json) -> Json:
    """The second copy of a record, with the metrics that follow from it by a known formula."""
    found = rows(data)
    columns = [
        c
        for c in (found[0] if found else ())
        if c in (*_IDENTITY, "prediction") or c not in _NOT_SCORES
    ]
    return {
        "columns": {name: [_kept(row.get(name)) for row in found] for name in columns},
        _DIGEST: [_digest(line) for line in data.splitlines()],
        "formulas": {
            name: formula
            for name, entry in metrics.items()
            if (formula := _formula(found, name, entry))
        },
    }


def changed(data: bytes, kept: Json) -> Iterator[Changed]:
    """Where the record and its copy part, document by document.

    Raises:
        ValueError, KeyError, TypeError: one of the two is no longer a record at all.
    """
    columns: Mapping[str, Sequence[Any]] = kept["columns"]
    ids, digests = [str(one) for one in columns.get("doc_id", ())], kept[_DIGEST]
    there: dict[str, tuple[Row, str]] = {}
    for line in data.splitlines():
        row = json.loads(line)
        there[str(row["doc_id"])] = row, _digest(line)
    for place, document in enumerate(ids):
        if document not in there:
            yield Changed(document, "doc_id", document, "no such document")
            continue
        row, digest = there.pop(document)
        parted = [
            Changed(document, name, _shown(values[place]), _shown(_kept(row.get(name))))
            for name, values in columns.items()
            if values[place] != _kept(row.get(name))
        ]
        if not parted and digest != digests[place]:
            parted = [Changed(document, "its record", digests[place], digest)]
        yield from parted
    for document in there:
        yield Changed(document, "doc_id", "no such document", document)


def recomputed(found: Sequence[Row], name: str, formula: str) -> tuple[float, float]:
    """Value and standard error of a metric from its documents (see the module)."""
    if formula == "mean":
        values = _column(found, name)
        stderr = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return float(values.mean()), float(stderr)
    sums, weights = _column(found, f"{name}.sum"), _column(found, f"{name}.weight")
    count, total = len(sums), weights.sum()
    rate = sums.sum() / total
    residuals = sums - rate * weights
    error = math.nan
    if count > 1:
        error = math.sqrt(count / (count - 1) * (residuals**2).sum()) / total
    if formula == "bits":
        return float(-rate / math.log(2)), float(error / math.log(2))
    value = math.exp(-rate) if -rate < 709 else math.inf
    return value, float(value * error)


def same(recorded: float | None, found: float) -> bool:
    """Whether two numbers are one, but for the order in which they were added up."""
    if recorded is None or not math.isfinite(found):
        return recorded is None and not math.isfinite(found)
    return math.isclose(recorded, found, rel_tol=_CLOSE, abs_tol=1e-12)


def _formula(found: Sequence[Row], name: str, entry: Json) -> Json | None:
    """How a metric follows from its documents, and whether its error does; None if it does not."""
    ratio = {f"{name}.sum", f"{name}.weight"}
    for needed, formula in (({name}, "mean"), (ratio, "perplexity"), (ratio, "bits")):
        if found and needed <= set(found[0]) and _numeric(found, needed):
            value, stderr = recomputed(found, name, formula)
            if same(entry.get("value"), value):
                return {"value": formula, "stderr": same(entry.get("stderr"), stderr)}
    return None


def _column(found: Iterable[Row], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([row[name] for row in found], dtype=float)


def _numeric(found: Sequence[Row], columns: Iterable[str]) -> bool:
    return all(isinstance(row.get(name), int | float) for row in found for name in columns)


def _line(row: Row) -> bytes:
    plain = {name: _plain(value) for name, value in row.items()}
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    """A value of a table as JSON has it; JSON of Python's kind, which has NaN and infinities."""
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value.tolist()]
    return value.item() if isinstance(value, np.generic) else value


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:16]


def _kept(value: Any) -> Any:
    """A value as the copy has it: strict JSON, which has no NaN and no infinity, only words."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
