"""Scores one checkpoint on one lm-eval task, or answers one part of its documents."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from sweeper.stages import Job
from sweeper.stages.evaluate import backends, perplexity, records
from sweeper.stages.evaluate import hf_backend as models
from sweeper.stages.evaluate import requests as runs
from sweeper.stages.evaluate import scores as scoring
from sweeper.stages.evaluate import task as tasks
from sweeper.stages.evaluate.records import Record

PACKAGES = ("lm_eval", "transformers", "torch", "datasets", "compressed-tensors")
log = logging.getLogger(__name__)


def run(job: Job) -> dict[str, Any]:
    """Works the task off in blocks and returns its scores.

    Documents that another evaluation of the same family has answered (the same checkpoint
    and task in the same way, under a smaller limit or as a part) are taken over, not asked
    again. A part, ``params["part"] = [i, k]``, answers every k-th block from the i-th on; it
    has no scores of its own, the whole makes them once, from all records.

    Writes ``documents.parquet``: one row per document with its place in the seeded order
    (``position``, ``block``), its ``cluster`` where the task names one, hashes of document, prompt
    and target, ``prediction``, whether it was ``extracted``, ``text``, ``likelihoods`` (nats, per
    request), how it is ``broken``, ``tokens``, ``seconds`` and a column per metric (a perplexity
    has two: ``<metric>.sum``, the log-likelihood in nats, and ``<metric>.weight``, the words or
    bytes).

    Raises:
        StageFailure: the task does not exist or cannot be run on this backend.
    """
    windows = perplexity.find(job.params["task"], job.sources.get("tasks"))
    if windows is not None:
        return perplexity.run(job, windows)
    return _Evaluation(job).result()


class _Evaluation:
    """One attempt; the model is loaded only if there is something to ask."""

    def __init__(self, job: Job) -> None:
        self.job, self.params = job, dict(job.params)
        self.checkpoint = job.checkpoint("model")
        chat = None
        if self.params["apply_chat_template"]:
            chat = tasks.Chat(
                apply=self.lm.apply_chat_template,
                tokenizer_name=self.lm.tokenizer_name,
                tokenizer_sha256=self.lm.tokenizer_sha256,
            )
        source = job.sources.get("tasks")
        self.prepared = tasks.prepare(self.params, source, self.checkpoint, chat)

    @cached_property
    def lm(self) -> Any:
        return backends.load(self.checkpoint, self.job.device, self.params)

    @cached_property
    def setting(self) -> dict[str, Any]:
        """What every answer of this attempt was made with."""
        packages = (*PACKAGES, *backends.packages(self.params["backend"]))
        return records.setting(self.job, packages)

    def result(self) -> dict[str, Any]:
        known, stopped = self._adopted()
        fresh = [] if stopped else self._asked({record["doc_id"] for record in known})
        found = sorted([*known, *fresh], key=lambda record: record["doc_id"])
        records.save(found, self.job.out)
        reason = self._collapse(found)
        wanted = sum(map(len, self._blocks(frozenset()).values()))
        return {
            **self._scores(found),
            **records.speed(found),
            **self.setting,
            "n_docs": len(found),
            "adopted": len(known),
            "collapsed": reason is not None,
            "collapsed_reason": reason,
            "stopped": len(found) < wanted,
            "documents_wanted": wanted,
            "documents_total": len(self.prepared.order),
            "softmax_dtype": models.SOFTMAX_DTYPE,
            **{name: self.params[name] for name in ("dtype", "backend", "batch_size")},
            "shared_context": self.lm.shared if fresh else self.params["shared_context"],
        }

    def _blocks(self, without: frozenset[int] | set[int]) -> dict[int, list[int]]:
        """Block number -> the documents of this stage's share that are not known yet."""
        order = self.prepared.order[: self.params["limit"]]
        first, step = self.params["part"] or (0, 1)
        size = self.params["block"]
        starts = range(first * size, len(order), step * size)
        blocks = {
            start // size: [d for d in order[start : start + size] if d not in without]
            for start in starts
        }
        return {number: documents for number, documents in blocks.items() if documents}

    def _adopted(self) -> tuple[list[Record], bool]:
        """Records of this share that the family has, and whether it gave the model up."""
        if not self.job.kin:
            return [], False
        wanted = {d for documents in self._blocks(frozenset()).values() for d in documents}
        found: dict[int, Record] = {}
        stopped = False
        for theirs, answers in records.of_kin(self.job.kin, self.setting):
            stopped = stopped or (theirs["stopped"] and self.params["stop_collapsed"])
            for record in answers:
                if record["doc_id"] in wanted and self._same(record):
                    found.setdefault(record["doc_id"], record)
        return list(found.values()), stopped

    def _same(self, record: Record) -> bool:
        """Whether a record is of the very document and prompt that would be asked here."""
        own = records.identity(self.prepared.task, self.prepared.requests, record["doc_id"])
        return all(record[name] == value for name, value in own.items())

    def _asked(self, known: set[int]) -> list[Record]:
        blocks = self._blocks(known)
        if not blocks:
            return []
        checked = False

        def enough(found: dict[int, runs.Answered]) -> bool:
            """Whether the first documents show that nothing is to be expected of the model."""
            nonlocal checked
            if checked or not self.params["stop_collapsed"]:
                return False
            checked = len(found) >= scoring.FEWEST_TO_JUDGE
            return checked and self._collapse(self._written(found)) is not None

        answered = runs.ask(
            self.lm,
            self.prepared,
            blocks,
            identity=repr(sorted(self.setting.items())),
            scratch=self.job.scratch,
            progress=self.job.progress,
            enough=enough,
        )
        return self._written(answered)

    def _written(self, answered: dict[int, runs.Answered]) -> list[Record]:
        return records.written(self.prepared, answered, keep_text=self.params["keep_text"])

    def _collapse(self, found: Sequence[Record]) -> str | None:
        kind = self.prepared.task.OUTPUT_TYPE
        size = models.vocabulary(self.checkpoint, trust_remote_code=self.job.trust_remote_code)
        return scoring.collapse(found, kind, size)

    def _scores(self, found: Sequence[Record]) -> dict[str, Any]:
        """What was scored, and how; a part scores nothing."""
        task = self.prepared.task
        named = {
            "task": task.config.task,
            "version": task.VERSION,
            "num_fewshot": task.get_config("num_fewshot"),
            "data_revisions": dict(self.prepared.data_revisions),
        }
        if self.params["part"] is not None:
            return named
        metrics = scoring.summarize(task, found)
        wanted = [d for documents in self._blocks(frozenset()).values() for d in documents]
        return {
            **named,
            "task_hash": scoring.task_hash(found, task),
            "primary": scoring.primary(task, list(metrics)),
            "metrics": metrics,
            "chance": scoring.chance(task, self.prepared.requests, wanted),
            "unextracted": scoring.unextracted(found),
        }
