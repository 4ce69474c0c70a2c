"""One record per document: what it is, what was answered, what that scores, and back again.

The records are the whole truth about an evaluation: aggregated scores are made from them
alone, so parts of a task, asked by several jobs or under a smaller limit, are put together
by putting their records together.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet
from lm_eval.api.task import Task
from lm_eval.utils import handle_non_serializable, hash_string

from sweeper.stages import Job
from sweeper.stages.evaluate.hf_backend import checkpoint_sha256
from sweeper.stages.evaluate.requests import Answered
from sweeper.stages.evaluate.task import Prepared, Requests
from sweeper.store import files

FILE = "documents.parquet"
INVALID = "[invalid]"  # what lm-eval's extraction filters give when they find no answer
_SHORT = 80  # characters of an extracted answer that are kept where generated text is dropped
# The last 120 characters or more are one unit of at most 40, again and again.
_LOOP = re.compile(r"(.{1,40}?)\1{2,}.{0,39}\Z", re.DOTALL)
_LOOP_LENGTH = 120
Record = dict[str, Any]
Key = tuple[str, str]  # metric, filter


def written(
    prepared: Prepared, answered: Mapping[int, Answered], *, keep_text: bool
) -> list[Record]:
    """Puts the responses back into their requests and lets the task score its documents."""
    task, requests = prepared.task, prepared.requests
    documents = sorted(answered)
    if not documents:
        return []
    for document in documents:
        for instance, found in zip(requests[document], answered[document].responses, strict=True):
            instance.resps = [tuple(r) if isinstance(r, list) else r for r in found]
    task._instances = [instance for d in documents for instance in requests[d]]
    task.apply_filters()
    names = list(task.instances[0].filtered_resps)
    places = {document: place for place, document in enumerate(prepared.order)}
    return [
        {
            **identity(task, requests, d),
            "position": places[d],
            "block": answered[d].block,
            **_shared(task, requests[d][0].doc),
            **_answer(task, requests, d, answered[d], names[0], keep_text),
            **_metrics(task, requests, d, names),
        }
        for d in documents
    ]


def identity(task: Task, requests: Requests, document: int) -> Record:
    """What tells a document and its prompt from any other."""
    instance = requests[document][0]
    target = str(task.doc_to_target(instance.doc))
    return {
        "doc_id": document,
        "doc_hash": document_hash(instance.doc),
        "prompt_hash": hash_string(instance.arguments[0]),
        "target_hash": hash_string(target),
    }


def document_hash(document: Any) -> str:
    """lm-eval's hash of a document."""
    dumped = json.dumps(document, indent=2, default=handle_non_serializable, ensure_ascii=False)
    return str(hash_string(dumped))


def _shared(task: Task, document: Mapping[str, Any]) -> Record:
    """What a document shares with others of its task, where the task names the columns."""
    columns = (task.get_config("metadata") or {}).get("cluster")
    return {"cluster": repr([document[name] for name in columns])} if columns else {}


def _answer(
    task: Task, requests: Requests, document: int, found: Answered, name: str, keep_text: bool
) -> Record:
    generated = task.OUTPUT_TYPE == "generate_until"
    first = found.responses[0][0] if generated else None
    prediction = _prediction(task, requests, document, name)
    extracted = None if not generated else str(prediction).strip() not in ("", INVALID)
    if generated and not keep_text and prediction is not None:
        prediction = prediction[:_SHORT]
    return {
        "prediction": prediction,
        "extracted": extracted,
        "text": str(first) if generated and keep_text else None,
        "likelihoods": None if generated else [_likelihood(r[0]) for r in found.responses],
        "broken": _broken(found.responses, generated),
        "tokens": found.tokens,
        "seconds": found.seconds,
    }


def _likelihood(response: Any) -> float:
    return float(response[0] if isinstance(response, list | tuple) else response)


def _broken(responses: Sequence[Sequence[Any]], generated: bool) -> str:
    """How an answer shows that the model is none any more: "not finite", "empty" or "loop"."""
    if not generated:
        likelihoods = [_likelihood(r) for group in responses for r in group]
        return "" if numpy.isfinite(likelihoods).all() else "not finite"
    answers = [str(r) for group in responses for r in group]
    if not any(answer.strip() for answer in answers):
        return "empty"
    return "loop" if all(loops(answer) for answer in answers) else ""


def loops(text: str) -> bool:
    """Whether a text ends by saying the same short thing over and over."""
    found = _LOOP.search(text[-1000:])
    return found is not None and len(found.group()) >= _LOOP_LENGTH


def _prediction(task: Task, requests: Requests, document: int, name: str) -> str | None:
    """The chosen choice's number, the extracted answer, or whether the target was greedy."""
    answers = [instance.filtered_resps[name] for instance in requests[document]]
    if task.OUTPUT_TYPE == "multiple_choice":
        likelihoods = [a[0] for a in answers[: len(choices(task, requests, document))]]
        return str(int(numpy.argmax(likelihoods)))
    if task.OUTPUT_TYPE == "loglikelihood":
        return "greedy" if answers[0][1] else "other"
    return str(answers[0]) if task.OUTPUT_TYPE == "generate_until" else None


def choices(task: Task, requests: Requests, document: int) -> Sequence[Any]:
    """The choices of a multiple-choice document, or its requests if the task lists none."""
    if task.get_config("doc_to_choice") is None:
        return requests[document]
    found: Sequence[Any] = task.doc_to_choice(requests[document][0].doc)
    return found


def _metrics(task: Task, requests: Requests, document: int, names: Sequence[str]) -> Record:
    columns: Record = {}
    for name in names:
        answers = [instance.filtered_resps[name] for instance in requests[document]]
        scored = task.process_results(requests[document][0].doc, answers)
        for metric, item in scored.items():
            columns |= _columns(column((metric, name), len(names)), item)
    return columns


def column(key: Key, filters: int) -> str:
    """What the column of a metric is called; its filter is named where there are several."""
    return key[0] if filters == 1 else f"{key[0]}:{key[1]}"


def _columns(label: str, item: Any) -> Record:
    """A number is a column; a log-likelihood with its weight is two; the rest is kept as JSON."""
    if isinstance(item, bool | int | float | numpy.number):
        return {label: float(item)}
    if isinstance(item, tuple) and len(item) == 2 and all(isinstance(x, int | float) for x in item):
        return {f"{label}.sum": float(item[0]), f"{label}.weight": float(item[1])}
    return {label: json.dumps(item, default=_plain)}


def _plain(value: Any) -> Any:
    """What JSON has no word for: the probabilities of all choices come as an array, say."""
    return value.tolist() if hasattr(value, "tolist") else handle_non_serializable(value)


def items(record: Mapping[str, Any], label: str) -> Any:
    """What lm-eval aggregates, from the columns that `written` made of it."""
    if f"{label}.sum" in record:
        return record[f"{label}.sum"], record[f"{label}.weight"]
    found = record[label]
    if not isinstance(found, str):
        return found
    item = json.loads(found)
    return tuple(item) if isinstance(item, list) else item


def labels(record: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    """The metrics of a record, in its order; ``known`` are the columns that are none."""
    names = [name.removesuffix(".sum") for name in record if not name.endswith(".weight")]
    return [name for name in dict.fromkeys(names) if name not in known]


def speed(found: Sequence[Record]) -> dict[str, Any]:
    """Throughput over all documents, those that earlier attempts answered included."""
    seconds = sum(record["seconds"] for record in found)
    tokens = sum(record["tokens"] for record in found)
    return {
        "seconds": seconds,
        "tokens": tokens,
        "tokens_per_s": tokens / seconds if seconds else None,
        "documents_per_s": len(found) / seconds if seconds else None,
    }


def save(records: Sequence[Record], directory: Path) -> None:
    """As `documents.parquet`; every document has the same columns."""
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(records)), directory / FILE)


def load(directory: Path) -> list[Record]:
    """What `save` wrote."""
    found: list[Record] = pyarrow.parquet.read_table(directory / FILE).to_pylist()
    return found


def setting(job: Job, packages: Iterable[str]) -> dict[str, Any]:
    """What every answer of an attempt is made with."""
    return {
        "device": job.device,
        "checkpoint_sha256": checkpoint_sha256(job.checkpoint("model"), code=job.trust_remote_code),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def of_kin(
    kin: Iterable[Path], same: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Any], list[Record]]]:
    """Result and records of each committed evaluation that was made with the ``same`` setting."""
    for directory in kin:
        theirs = files.read_json(directory / "result.json")
        if all(theirs[name] == value for name, value in same.items()):
            yield theirs, load(directory)
