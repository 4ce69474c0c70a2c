"""Perplexity as the compression literature computes it: whole text, windows of so many tokens.

The texts of the split are joined by a separator and tokenized once; the tokens are cut into
windows that do not overlap, the rest is left out. Each window is one forward pass, its first
token only context. The perplexity is exp of the mean negative log-likelihood per predicted
token (SparseGPT, arXiv:2301.00774, section 4; GPTQ, arXiv:2210.17323, section 4). lm-eval's
word perplexity is another number: documents one by one, normalized by their words.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lm_eval.utils import hash_string

from sweeper.errors import StageFailure
from sweeper.inputs import datasets as pinned_data
from sweeper.inputs.tasks import index
from sweeper.stages import Job
from sweeper.stages.evaluate import hf_backend as models
from sweeper.stages.evaluate import records
from sweeper.stages.evaluate import scores as scoring
from sweeper.stages.evaluate.journal import Journal
from sweeper.stages.evaluate.records import Record
from sweeper.stages.evaluate.task import document_order
from sweeper.stages.evaluate.throughput import Pace

OUTPUT_TYPE = "token_perplexity"
PACKAGES = ("transformers", "torch", "datasets", "compressed-tensors")
_SLICE = 256  # positions whose logits are in float32 at a time


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A task file of ``output_type: token_perplexity``.

    Attributes:
        name: the task.
        metric: what its number is called.
        version: as the file states it.
        dataset: hub id, configuration and revision ("main" if the file names none).
        split: of the data set.
        column: the column that holds the text.
        separator: between two rows.
        window: tokens per window, its first one included.
    """

    name: str
    metric: str
    version: Any
    dataset: tuple[str, str | None, str]
    split: str
    column: str
    separator: str
    window: int


def find(name: str, folder: Path | None) -> Definition | None:
    """The task called ``name`` in ``folder``, if it is one of this kind."""
    entry = index.scan(folder).get(name) if folder else None
    if folder is None or entry is None or entry.get("output_type") != OUTPUT_TYPE:
        return None
    config = index.merged(folder / entry["path"])
    options = config.get("dataset_kwargs") or {}
    return Definition(
        name=name,
        metric=config["metric_list"][0]["metric"],
        version=entry["version"],
        dataset=(
            config["dataset_path"],
            config.get("dataset_name"),
            options.get("revision", "main"),
        ),
        split=config["test_split"],
        column=config["column"],
        separator=config["separator"],
        window=int(config["window"]),
    )


def text(definition: Definition) -> str:
    """All rows of the split; call it within `pinned_data.pinned` to pin the data set."""
    import datasets

    path, name, revision = definition.dataset
    rows = datasets.load_dataset(path, name, revision=revision, split=definition.split)
    return definition.separator.join(rows[definition.column])


def windows(tokens: Sequence[int], width: int) -> list[list[int]]:
    """As many whole windows of ``width`` tokens as there are."""
    return [list(tokens[i : i + width]) for i in range(0, len(tokens) - width + 1, width)]


def log_likelihood(model: Any, window: Sequence[int]) -> float:
    """Of all tokens of a window but the first, given those before them, in nats (float32)."""
    ids = torch.tensor([window], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        total = 0.0
        for start in range(0, len(window) - 1, _SLICE):
            part = logits[start : start + _SLICE].float().log_softmax(-1)
            wanted = ids[0, start + 1 : start + 1 + len(part)]
            total += float(part.gather(-1, wanted[:, None]).double().sum())
    return total


def run(job: Job, definition: Definition) -> dict[str, Any]:
    """The perplexity of a checkpoint; a window is a document of ``documents.parquet``.

    A killed attempt loses one window. Windows that another evaluation of the same family
    scored (under a smaller limit) are taken over.

    Raises:
        StageFailure: the model's context, or the text, is shorter than a window.
    """
    return _Evaluation(job, definition).result()


class _Evaluation:
    """One attempt; the model is loaded only if there is something to score."""

    def __init__(self, job: Job, definition: Definition) -> None:
        assert job.params["part"] is None  # one text is never divided
        if job.device == "cpu":
            torch.set_num_threads(1)  # the number of threads changes the last digits
        self.job, self.params, self.definition = job, job.params, definition
        self.checkpoint, self.trust = job.checkpoint("model"), job.trust_remote_code
        tokenizer = models.tokenizer_of(self.checkpoint, trust_remote_code=self.trust)
        with pinned_data.pinned(self.params.get("data_revisions", {})) as loads:
            whole = text(definition)
        self.data_revisions = loads.seen
        tokens = _encoded(tokenizer, whole, self.params["add_bos_token"])
        self.windows = windows(tokens, definition.window)
        if not self.windows:
            raise StageFailure(
                f"{definition.name}: the text has {len(tokens)} tokens, less than one window of "
                f"{definition.window}"
            )
        order = document_order([""] * len(self.windows), self.params["order_seed"])
        self.order = order[: self.params["limit"]]
        self.places = {document: place for place, document in enumerate(order)}

    @cached_property
    def setting(self) -> dict[str, Any]:
        """What every number of this attempt was made with."""
        return records.setting(self.job, PACKAGES)

    def result(self) -> dict[str, Any]:
        known = self._adopted()
        found = [*known, *self._scored({record["doc_id"] for record in known})]
        found.sort(key=lambda record: record["doc_id"])
        records.save(found, self.job.out)
        reason = self._collapse(found)
        return {
            "task": self.definition.name,
            "version": self.definition.version,
            "num_fewshot": 0,
            "data_revisions": self.data_revisions,
            "task_hash": hash_string("".join(record["doc_hash"] for record in found)),
            "primary": self.definition.metric,
            "metrics": {self.definition.metric: summary(found, self.definition.metric)},
            "chance": None,
            "unextracted": None,
            **records.speed(found),
            **self.setting,
            "n_docs": len(found),
            "adopted": len(known),
            "collapsed": reason is not None,
            "collapsed_reason": reason,
            "stopped": len(found) < len(self.order),
            "documents_wanted": len(self.order),
            "documents_total": len(self.windows),
            "softmax_dtype": models.SOFTMAX_DTYPE,
            **{name: self.params[name] for name in ("dtype", "backend", "batch_size")},
            "shared_context": False,
        }

    def _adopted(self) -> list[Record]:
        """Windows that the family has scored."""
        wanted = {document: hash_string(repr(self.windows[document])) for document in self.order}
        found: dict[int, Record] = {}
        for _, answers in records.of_kin(self.job.kin, self.setting):
            for record in answers:
                if wanted.get(record["doc_id"]) == record["doc_hash"]:
                    found.setdefault(record["doc_id"], record)
        return list(found.values())

    def _scored(self, known: set[int]) -> Iterator[Record]:
        """The windows that are left, in their order."""
        todo = [document for document in self.order if document not in known]
        if not todo:
            return
        loaded = models.load(
            self.checkpoint,
            dtype=self.params["dtype"],
            device=self.job.device,
            trust_remote_code=self.trust,
        )
        _check_context(loaded.model, self.definition)
        asked = hash_string(repr([self.setting, [self.windows[document] for document in todo]]))
        journal = Journal(self.job.scratch / "windows.jsonl", asked)
        made: list[Record] = []
        pace = Pace(documents=len(todo), requests=len(todo), progress=self.job.progress)
        for document in todo:
            answer = journal.get(document)
            fresh = answer is None
            if answer is None:
                began = time.perf_counter()
                value = log_likelihood(loaded.model, self.windows[document])
                answer = [value, time.perf_counter() - began]
                journal.add(document, answer)
            made.append(self._record(document, *answer))
            yield made[-1]
            pace.answered(1, self.definition.window, fresh=fresh)
            judged = self.params["stop_collapsed"] and len(made) == scoring.FEWEST_TO_JUDGE
            if judged and self._collapse(made) is not None:
                return

    def _record(self, document: int, likelihood: float, seconds: float) -> Record:
        digest = hash_string(repr(self.windows[document]))
        metric = self.definition.metric
        return {
            "doc_id": document,
            "doc_hash": digest,
            "prompt_hash": digest,
            "target_hash": digest,
            "position": self.places[document],
            "block": self.places[document] // self.params["block"],
            "prediction": None,
            "extracted": None,
            "text": None,
            "likelihoods": [likelihood],
            "broken": "" if math.isfinite(likelihood) else "not finite",
            "tokens": self.definition.window,
            "seconds": seconds,
            f"{metric}.sum": likelihood,
            f"{metric}.weight": float(self.definition.window - 1),
        }

    def _collapse(self, found: Sequence[Record]) -> str | None:
        vocabulary = models.vocabulary(self.checkpoint, trust_remote_code=self.trust)
        return scoring.collapse(found, "loglikelihood_rolling", vocabulary)


def summary(found: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """Perplexity with its standard error over windows, on its own and on the log scale."""
    rate, error = scoring.likelihood_rate(
        [(record[f"{metric}.sum"], record[f"{metric}.weight"]) for record in found]
    )
    value = math.exp(-rate) if -rate < 709 else math.inf
    return {
        "value": scoring.finite(value),
        "stderr": scoring.finite(value * error),
        "log_value": scoring.finite(-rate),
        "log_stderr": scoring.finite(error),
        "n": len(found),
        "higher_is_better": False,
        "filter": "none",
    }


def _encoded(tokenizer: Any, whole: str, bos: bool | None) -> list[int]:
    """The whole text as tokens; what begins a text (BOS) begins it once, at its very start."""
    tokens: list[int] = tokenizer(whole, add_special_tokens=bos is not False, verbose=False)[
        "input_ids"
    ]
    if bos and tokens[:1] != [tokenizer.bos_token_id]:
        tokens = [tokenizer.bos_token_id, *tokens]
    return tokens


def _check_context(model: Any, definition: Definition) -> None:
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context is not None and context < definition.window:
        raise StageFailure(
            f"{definition.name} takes windows of {definition.window} tokens, and the model's "
            f"context is {context}: leave the task out"
        )
