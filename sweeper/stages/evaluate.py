"""Scores one checkpoint on one lm-eval task."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import pyarrow
import pyarrow.parquet
import torch

from sweeper.errors import StageFailure, one_of
from sweeper.stages import Job
from sweeper.stages import lm_eval_model as models
from sweeper.stages import lm_eval_run as runs
from sweeper.stages import lm_eval_scores as scoring

BACKENDS = ("hf",)
PACKAGES = ("lm_eval", "transformers", "torch", "datasets", "compressed-tensors")


def run(job: Job) -> dict[str, Any]:
    """Works the task off in blocks and returns its scores.

    Writes ``documents.parquet``: one row per document with its place in the seeded order
    (``position``, ``block``), hashes of document, prompt and target, ``prediction``,
    ``tokens`` and a column per metric (a perplexity has two: ``<metric>.sum``, the
    log-likelihood in nats, and ``<metric>.weight``, the words or bytes).

    Raises:
        StageFailure: the task does not exist or cannot be run on this backend.
    """
    params = job.params
    if params["backend"] not in BACKENDS:
        raise StageFailure(f"tasks.backend={params['backend']}: {one_of(BACKENDS)}")
    if job.device == "cpu":
        torch.set_num_threads(1)  # the number of threads changes the last digits
    checkpoint = job.checkpoint("model")
    task = runs.load_task(params["task"], job.sources.get("tasks"), checkpoint)
    runs.configure(task, params)
    model, tokenizer = models.load(checkpoint, dtype=params["dtype"], device=job.device)
    lm = models.CountingLM(model, tokenizer, batch_size=params["batch_size"])
    requests = runs.build_requests(task, lm, chat=params["apply_chat_template"])
    blocks = runs.run_blocks(
        lm,
        requests,
        runs.document_order(len(requests), params["order_seed"], params["limit"]),
        size=params["block"],
        identity=f"{models.fingerprint(checkpoint)}/{job.device}",
        scratch=job.scratch,
        progress=job.progress,
    )
    scores = scoring.score(task, requests, blocks)
    table = pyarrow.Table.from_pylist(scores.rows)
    pyarrow.parquet.write_table(table, job.out / "documents.parquet")
    reason = scoring.collapse(task, scores, blocks, model.config.vocab_size)
    documents = [row["doc_id"] for row in scores.rows]
    return {
        **_scores(task, scores, scoring.chance(task, requests, documents)),
        **_speed(blocks),
        "collapsed": reason is not None,
        "collapsed_reason": reason,
        "device": job.device,
        "dtype": params["dtype"],
        "softmax_dtype": models.SOFTMAX_DTYPE,
        "backend": params["backend"],
        "batch_size": params["batch_size"],
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def _scores(task: Any, scores: scoring.Scores, chance: float | None) -> dict[str, Any]:
    """What was scored, and how."""
    metrics = scoring.summarize(task, scores)
    return {
        "task": task.config.task,
        "version": task.VERSION,
        "task_hash": scores.task_hash,
        "num_fewshot": task.get_config("num_fewshot"),
        "primary": scoring.primary(task, list(metrics)),
        "metrics": metrics,
        "chance": chance,
        "n_docs": len(scores.rows),
        "unextracted": scores.unextracted,
    }


def _speed(blocks: list[runs.Block]) -> dict[str, Any]:
    """Throughput over all blocks, those of earlier attempts included."""
    seconds = sum(block.seconds for block in blocks)
    tokens = sum(sum(block.tokens) for block in blocks)
    documents = sum(len(block.documents) for block in blocks)
    return {
        "seconds": seconds,
        "tokens": tokens,
        "tokens_per_s": tokens / seconds,
        "documents_per_s": documents / seconds,
    }
