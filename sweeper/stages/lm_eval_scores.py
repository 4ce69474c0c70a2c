"""From responses to scores: lm-eval's filters, metrics and aggregation, in lm-eval's own order."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from lm_eval.api import metrics as lm_eval_metrics
from lm_eval.api.task import Task
from lm_eval.utils import handle_non_serializable, hash_string

from sweeper.stages.lm_eval_run import Block, Requests

BOOTSTRAPS = 1000
INVALID = "[invalid]"  # what lm-eval's extraction filters give when they find no answer
PERPLEXITIES = (lm_eval_metrics.weighted_perplexity, lm_eval_metrics.perplexity)
Key = tuple[str, str]  # metric, filter


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Per-document results of a task, in the order of the data set.

    Attributes:
        items: per metric and filter, what lm-eval aggregates: one item per document.
        rows: one record per document, for `documents.parquet`.
        task_hash: lm-eval's hash over documents, prompts and targets.
        unextracted: answers in which the first filter found nothing; None for a task
            that generates nothing.
    """

    items: dict[Key, list[Any]]
    rows: list[dict[str, Any]]
    task_hash: str
    unextracted: int | None


def score(task: Task, requests: Requests, blocks: Sequence[Block]) -> Scores:
    """Puts the responses back into their requests and lets the task score its documents."""
    found = {
        document: (number, tokens, responses)
        for number, block in enumerate(blocks)
        for document, responses, tokens in zip(
            block.documents, block.responses, block.tokens, strict=True
        )
    }
    documents = sorted(found)
    for document in documents:
        for instance, responses in zip(requests[document], found[document][2], strict=True):
            instance.resps = [tuple(r) if isinstance(r, list) else r for r in responses]
    task._instances = [instance for d in documents for instance in requests[d]]
    task.apply_filters()
    filters = list(task.instances[0].filtered_resps)
    rows = {d: _row(task, requests, d, found[d], filters[0]) for d in documents}
    items: dict[Key, list[Any]] = {}
    for name in filters:
        for document in documents:
            answers = [instance.filtered_resps[name] for instance in requests[document]]
            scored = task.process_results(requests[document][0].doc, answers)
            for metric, item in scored.items():
                items.setdefault((metric, name), []).append(item)
                label = metric if len(filters) == 1 else f"{metric}:{name}"
                rows[document].update(_columns(label, item))
    order = [d for block in blocks for d in block.documents]
    for position, document in enumerate(order):
        rows[document]["position"] = position
    return Scores(
        items=items,
        rows=[rows[d] for d in documents],
        task_hash=_task_hash(rows, len(filters)),
        unextracted=_unextracted(task, requests, documents, filters[0]),
    )


def _row(
    task: Task, requests: Requests, document: int, found: tuple[int, int, Any], first: str
) -> dict[str, Any]:
    """What identifies a document and what was answered; the metrics are added later."""
    instance = requests[document][0]
    dumped = json.dumps(instance.doc, indent=2, default=handle_non_serializable, ensure_ascii=False)
    target = str(task.doc_to_target(instance.doc))
    return {
        "doc_id": document,
        "block": found[0],
        "doc_hash": hash_string(dumped),
        "prompt_hash": hash_string(instance.arguments[0]),
        "target_hash": hash_string(target),
        "prediction": _prediction(task, requests, document, first),
        "tokens": found[1],
    }


def _prediction(task: Task, requests: Requests, document: int, name: str) -> str | None:
    """The chosen choice's number, the extracted answer, or whether the target was greedy."""
    answers = [instance.filtered_resps[name] for instance in requests[document]]
    if task.OUTPUT_TYPE == "multiple_choice":
        likelihoods = [a[0] for a in answers[: len(_choices(task, requests, document))]]
        return str(int(numpy.argmax(likelihoods)))
    if task.OUTPUT_TYPE == "loglikelihood":
        return "greedy" if answers[0][1] else "other"
    return str(answers[0]) if task.OUTPUT_TYPE == "generate_until" else None


def _choices(task: Task, requests: Requests, document: int) -> Sequence[Any]:
    """The choices of a multiple-choice document, or its requests if the task lists none."""
    if task.get_config("doc_to_choice") is None:
        return requests[document]
    choices: Sequence[Any] = task.doc_to_choice(requests[document][0].doc)
    return choices


def _columns(label: str, item: Any) -> dict[str, Any]:
    """A number is a column; a log-likelihood with its weight is two; the rest is kept as JSON."""
    if isinstance(item, bool | int | float | numpy.number):
        return {label: float(item)}
    if isinstance(item, tuple) and len(item) == 2 and all(isinstance(x, int | float) for x in item):
        return {f"{label}.sum": float(item[0]), f"{label}.weight": float(item[1])}
    return {label: json.dumps(item, default=handle_non_serializable)}


def _task_hash(rows: Mapping[int, Mapping[str, Any]], filters: int) -> str:
    """As in lm-eval's `EvaluationTracker`: documents in data set order, once per filter."""
    one = "".join(r["doc_hash"] + r["prompt_hash"] + r["target_hash"] for r in rows.values())
    return str(hash_string(one * filters))


def _unextracted(task: Task, requests: Requests, documents: Sequence[int], name: str) -> int | None:
    if task.OUTPUT_TYPE != "generate_until":
        return None
    answers = [str(requests[d][0].filtered_resps[name]).strip() for d in documents]
    return sum(answer in ("", INVALID) for answer in answers)


def summarize(task: Task, scores: Scores) -> dict[str, dict[str, Any]]:
    """Every metric of the task: value, standard error, number of documents, direction."""
    single = len({name for _, name in scores.items}) == 1
    better = task.higher_is_better()
    return {
        metric if single else f"{metric}:{name}": {
            **_aggregate(task.aggregation().get(metric, lm_eval_metrics.mean), items),
            "n": len(items),
            "higher_is_better": better.get(metric),
            "filter": name,
        }
        for (metric, name), items in scores.items.items()
    }


def _aggregate(how: Any, items: Sequence[Any]) -> dict[str, Any]:
    """Value and standard error; a perplexity also has them on the log scale."""
    try:
        value = float(how(items))
    except OverflowError:  # exp() of more than 709 nats a word
        value = math.inf
    if how in PERPLEXITIES:
        rate, error = likelihood_rate(items)
        return {
            "value": finite(value),
            "stderr": finite(value * error),
            "log_value": finite(-rate),
            "log_stderr": finite(error),
        }
    if how is lm_eval_metrics.bits_per_byte:
        error = likelihood_rate(items)[1] / math.log(2)
    else:
        error = _lm_eval_stderr(how, items)
    return {"value": finite(value), "stderr": finite(error)}


def likelihood_rate(items: Sequence[Any]) -> tuple[float, float]:
    """Log-likelihood per unit (word, byte, document) and its standard error.

    The rate is a ratio of two sums over documents, r = sum(l) / sum(w), so its variance
    is, by the delta method, n/(n-1) * sum((l - r w)^2) / sum(w)^2 (Cochran, *Sampling
    Techniques*, 1977, eq. 6.13 without the finite population correction); a perplexity
    exp(-r) has the standard error exp(-r) * se(r). lm-eval itself gives none.

    Args:
        items: (log-likelihood in nats, weight) per document, or log-likelihoods alone.

    Returns:
        Rate and standard error in nats per unit; the latter is NaN for a single document.
    """
    pairs = [item if isinstance(item, tuple) else (item, 1) for item in items]
    sums, weights = numpy.asarray(pairs, dtype=float).T
    count, total = len(sums), weights.sum()
    rate = sums.sum() / total
    if count < 2:
        return float(rate), math.nan
    residuals = sums - rate * weights
    variance = count / (count - 1) * (residuals**2).sum() / total**2
    return float(rate), float(numpy.sqrt(variance))


def _lm_eval_stderr(how: Any, items: Sequence[Any]) -> float:
    """lm-eval's own, with a bootstrap that stays in this process and off standard output."""
    os.environ["DISABLE_MULTIPROC"] = "1"
    function = lm_eval_metrics.stderr_for_metric(metric=how, bootstrap_iters=BOOTSTRAPS)
    if function is None or len(items) < 2:
        return math.nan
    with contextlib.redirect_stdout(sys.stderr):
        return float(function(items))


def finite(value: float) -> float | None:
    """``value``, or None where strict JSON has no word for it."""
    return value if math.isfinite(value) else None


def primary(task: Task, names: Sequence[str]) -> str:
    """The metric that stands for the task: the one it names, else the first it lists."""
    named = (task.get_config("metadata") or {}).get("primary_metric")
    listed = [entry.get("metric") for entry in task.get_config("metric_list") or []]
    for metric in [named, *listed]:
        for name in names:
            if metric == name.partition(":")[0]:
                return name
    return names[0]


def chance(task: Task, requests: Requests, documents: Sequence[int]) -> float | None:
    """What guessing scores: stated by the task, else 1/choices, 0 for free answers.

    None where the word means nothing (a perplexity).
    """
    stated = (task.get_config("metadata") or {}).get("chance")
    if stated is not None:
        return float(stated)
    if task.OUTPUT_TYPE == "multiple_choice":
        each = [1 / len(_choices(task, requests, d)) for d in documents]
        return sum(each) / len(each)
    return None if task.OUTPUT_TYPE == "loglikelihood_rolling" else 0.0


def collapse(task: Task, scores: Scores, blocks: Sequence[Block], vocabulary: int) -> str | None:
    """Why the model is no language model any more, or None.

    It is not when a log-likelihood is not finite, when running text is less likely than
    under a uniform guess over the vocabulary, or when every generated answer is empty.
    """
    answers = [r for block in blocks for d in block.responses for one in d for r in one]
    if task.OUTPUT_TYPE == "generate_until":
        return None if any(a.strip() for a in answers) else "every answer is empty"
    likelihoods = [a[0] if isinstance(a, list | tuple) else a for a in answers]
    if not all(math.isfinite(x) for x in likelihoods):
        return "a log-likelihood is not finite"
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        tokens = sum(row["tokens"] for row in scores.rows)
        if -sum(likelihoods) / tokens > math.log(vocabulary):
            return "text is less likely than under a uniform guess over the vocabulary"
    return None
