"""From records to scores: lm-eval's own aggregation, in lm-eval's own order of documents."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from lm_eval.api import metrics as lm_eval_metrics
from lm_eval.api.task import Task
from lm_eval.utils import hash_string

from sweeper.stages.evaluate import records
from sweeper.stages.evaluate.records import Record
from sweeper.stages.evaluate.task import Requests

BOOTSTRAPS = 1000
FEWEST_TO_JUDGE = 16  # documents: fewer that are empty or loop say nothing of a model
PERPLEXITIES = (lm_eval_metrics.weighted_perplexity, lm_eval_metrics.perplexity)
OWN_COLUMNS = (
    "doc_id",
    "doc_hash",
    "prompt_hash",
    "target_hash",
    "position",
    "block",
    "cluster",
    "prediction",
    "extracted",
    "text",
    "likelihoods",
    "broken",
    "tokens",
    "seconds",
)


def filters(task: Task) -> list[str]:
    """Names of the task's filters, in its order."""
    return [ensemble.name for ensemble in task._filters]


def summarize(task: Task, found: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Every metric of the task: value, standard error, number of documents, direction.

    ``found`` are the records of all documents, in the order of the data set.
    """
    names, better = filters(task), task.higher_is_better()
    summary = {}
    for label in records.labels(found[0], OWN_COLUMNS):
        metric, name = (label, names[0]) if len(names) == 1 else _split(label)
        items = [records.items(record, label) for record in found]
        summary[label] = {
            **_aggregate(task.aggregation().get(metric, lm_eval_metrics.mean), items),
            "n": len(items),
            "higher_is_better": better.get(metric),
            "filter": name,
        }
    return summary


def _split(label: str) -> tuple[str, str]:
    metric, _, name = label.partition(":")
    return metric, name


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
        each = [1 / len(records.choices(task, requests, d)) for d in documents]
        return sum(each) / len(each)
    return None if task.OUTPUT_TYPE == "loglikelihood_rolling" else 0.0


def task_hash(found: Sequence[Mapping[str, Any]], task: Task) -> str:
    """As in lm-eval's `EvaluationTracker`: documents in data set order, once per filter."""
    one = "".join(r["doc_hash"] + r["prompt_hash"] + r["target_hash"] for r in found)
    return str(hash_string(one * len(filters(task))))


def unextracted(found: Sequence[Record]) -> int | None:
    """Answers in which nothing was found to score; None for a task that generates nothing."""
    known = [record["extracted"] for record in found if record["extracted"] is not None]
    return sum(not one for one in known) if known else None


def collapse(found: Sequence[Record], kind: str, vocabulary: int) -> str | None:
    """Why the model is no language model any more, or None.

    It is not when a log-likelihood is not finite, when running text is less likely than
    under a uniform guess over the vocabulary, or when every generated answer, of
    `FEWEST_TO_JUDGE` or more, is empty or ends by repeating itself. A part without documents
    says nothing.
    """
    if not found:
        return None
    broken = [record["broken"] for record in found]
    if "not finite" in broken:
        return "a log-likelihood is not finite"
    if all(broken) and len(broken) >= FEWEST_TO_JUDGE:
        if set(broken) == {"empty"}:
            return "every answer is empty"
        return "every answer is empty or repeats itself without end"
    if kind == "loglikelihood_rolling":
        total = sum(sum(record["likelihoods"]) for record in found)
        if -total / sum(record["tokens"] for record in found) > math.log(vocabulary):
            return "text is less likely than under a uniform guess over the vocabulary"
    return None
