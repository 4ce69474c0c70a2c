"""Asks a model the requests of documents: fixed blocks of documents, in each fixed batches.

Batches are formed within a block and in one way only, so whatever is asked again after a
kill, in another job or under a larger limit is asked in the same company. Each answered
batch is written down at once.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy
import torch
from lm_eval.api.instance import Instance

from sweeper.stages.evaluate.journal import Journal
from sweeper.stages.evaluate.shared_prefix import Row
from sweeper.stages.evaluate.task import SEED, Prepared
from sweeper.stages.evaluate.throughput import Pace


class LM(Protocol):
    """What is asked of a backend; lm-eval's own model classes have the rest."""

    shared: bool
    tokenizer_sha256: str
    request_tokens: list[int]

    @property
    def requests_at_once(self) -> int:
        """Generations per call."""
        ...

    @property
    def windows_at_once(self) -> int:
        """Running texts per call."""
        ...

    @property
    def batch_size(self) -> Any:
        """Rows per call."""
        ...

    def encode(self, instances: Sequence[Any]) -> list[Any]:
        """(context, continuation) tokens of log-likelihood requests."""
        ...

    def likelihoods(self, rows: Sequence[Row]) -> list[list[Any]]:
        """Per row, per continuation, (log-likelihood, whether it is greedy)."""
        ...

    def tok_encode(self, string: str) -> list[int]:
        """Tokens of a text."""
        ...


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What a model answered to one document.

    Attributes:
        block: the block that it was asked in.
        responses: per request, per repeat.
        tokens: read and written.
        seconds: its share of the time that the model took for its batch.
    """

    block: int
    responses: list[list[Any]]
    tokens: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Requests that go to the model in one call.

    Attributes:
        asked: (document, number of its request) in the order of the rows' continuations.
        rows: what is computed, for log-likelihoods; empty where lm-eval takes the requests.
    """

    asked: list[tuple[int, int]]
    rows: list[Row] = field(default_factory=list)


def ask(
    lm: LM,
    prepared: Prepared,
    blocks: dict[int, list[int]],
    *,
    identity: str,
    scratch: Path,
    progress: Callable[..., None],
    enough: Callable[[dict[int, Answered]], bool],
) -> dict[int, Answered]:
    """Document -> what was answered, for all documents of ``blocks`` (number -> documents).

    Args:
        lm: the model.
        prepared: the task.
        blocks: what to ask; ended early as soon as ``enough`` says so after a block.
        identity: what the answers depend on beside the requests.
        scratch: where batches are written down.
        progress: called after every batch with a fraction and a note.
        enough: whether to stop, given all that was answered so far.
    """
    found: dict[int, Answered] = {}
    count = {d: len(prepared.requests[d]) for documents in blocks.values() for d in documents}
    pace = Pace(documents=len(count), requests=sum(count.values()), progress=progress)
    for number, documents in blocks.items():
        batches = list(_batches(lm, prepared, documents))
        prompts = [[i.arguments for i in prepared.requests[d]] for d in documents]
        shape = [batch.asked for batch in batches]
        asked = json.dumps([identity, documents, prompts, shape], default=str)
        journal = Journal(
            scratch / f"block-{number:05d}.jsonl", hashlib.sha256(asked.encode()).hexdigest()
        )
        replies: dict[tuple[int, int], Any] = {}
        for at, batch in enumerate(batches):
            known = journal.get(at)
            fresh = known is None
            if known is None:
                known = _timed(lm, prepared, batch)
                journal.add(at, known)
            pace.answered(len(known), sum(tokens for _, tokens, _ in known), fresh=fresh)
            replies.update(zip(batch.asked, known, strict=True))
        for document in documents:
            own = [replies[document, i] for i in range(count[document])]
            found[document] = _answered(number, own)
        if enough(found):
            break
    return found


def _answered(block: int, replies: Sequence[Any]) -> Answered:
    responses, tokens, seconds = zip(*replies, strict=True)
    return Answered(
        block=block, responses=list(responses), tokens=sum(tokens), seconds=sum(seconds)
    )


def _batches(lm: LM, prepared: Prepared, documents: Sequence[int]) -> Iterator[Batch]:
    """The requests of a block, longest first, as many at once as the backend takes."""
    kind = prepared.requests[documents[0]][0].request_type
    keys = [(d, i) for d in documents for i in range(len(prepared.requests[d]))]
    if kind == "loglikelihood":
        rows = sorted(_rows(lm, prepared, documents), key=lambda r: -len(r[1].tokens))
        for some in _chunks(rows, int(lm.batch_size)):
            yield Batch(asked=[k for keys, _ in some for k in keys], rows=[row for _, row in some])
        return
    at_once = lm.windows_at_once if kind == "loglikelihood_rolling" else lm.requests_at_once
    texts = {(d, i): prepared.requests[d][i].arguments[0] for d, i in keys}
    for some in _chunks(sorted(keys, key=lambda key: -len(texts[key])), at_once):
        yield Batch(asked=some)


def _rows(
    lm: LM, prepared: Prepared, documents: Sequence[int]
) -> Iterator[tuple[list[tuple[int, int]], Row]]:
    """Requests of a document whose contexts have the same tokens become one row."""
    for document in documents:
        key = (lm.tokenizer_sha256, document)
        if key not in prepared.encoded:
            prepared.encoded[key] = lm.encode(prepared.requests[document])
        groups: dict[Any, list[int]] = {}
        for number, (context, _) in enumerate(prepared.encoded[key]):
            groups.setdefault(context if lm.shared else number, []).append(number)
        for numbers in groups.values():
            pairs = [prepared.encoded[key][n] for n in numbers]
            row = Row(context=pairs[0][0], continuations=tuple(rest for _, rest in pairs))
            yield [(document, n) for n in numbers], row


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def _timed(lm: LM, prepared: Prepared, batch: Batch) -> list[list[Any]]:
    """Per request of the batch: responses (one per repeat), tokens, seconds."""
    began = time.perf_counter()
    random.seed(SEED)
    numpy.random.seed(SEED)
    torch.manual_seed(SEED)
    if batch.rows:
        flat = [answer for row in lm.likelihoods(batch.rows) for answer in row]
        answers = [[list(answer)] for answer in flat]
        tokens = [len(row.context) + len(c) for row in batch.rows for c in row.continuations]
    else:
        instances = [prepared.requests[d][i] for d, i in batch.asked]
        answers, tokens = _answers(lm, instances)
    share = (time.perf_counter() - began) / len(batch.asked)
    return [[a, t, share] for a, t in zip(answers, tokens, strict=True)]


def _answers(lm: LM, instances: Sequence[Instance]) -> tuple[list[list[Any]], list[int]]:
    """Per request its responses, one for each of its repeats, and tokens read and written."""
    kind = instances[0].request_type
    repeats = [instance.repeats or 1 for instance in instances]
    repeated = [i for i, count in zip(instances, repeats, strict=True) for _ in range(count)]
    lm.request_tokens.clear()
    try:
        found = iter(getattr(lm, kind)(repeated, disable_tqdm=True))
    except RuntimeError as error:
        # Sampling from NaN is the one way in which a broken model stops lm-eval.
        if kind != "generate_until" or "probability tensor contains" not in str(error):
            raise
        found = iter([""] * len(repeated))
    answers = [[next(found) for _ in range(count)] for count in repeats]
    tokens = [len(lm.tok_encode(instance.arguments[0])) for instance in instances]
    if kind == "generate_until":
        written = [sum(len(lm.tok_encode(str(a))) for a in group) for group in answers]
        tokens = [read + more for read, more in zip(tokens, written, strict=True)]
    return answers, tokens
