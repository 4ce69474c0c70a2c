"""Puts the parts of a benchmark together: its subtasks become one task, as lm-eval's groups do."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.data import looks
from analysis.data.documents import Documents, One
from analysis.data.results import Results
from analysis.metrics import Array

Row = dict[str, Any]

# The benchmarks of arXiv:2505.07289 by the names of lm-eval's groups.
LABORDE = {
    "MMLU-Pro": ("mmlu_pro",),
    "BBH": ("bbh_cot_fewshot", "bbh"),
    "MATH": ("minerva_math", "hendrycks_math"),
}


def pooled(results: Results, benchmarks: Mapping[str, Sequence[str]] | None = None) -> Results:
    """The same cells with one score per benchmark in place of those of its subtasks.

    The value is the mean over all documents of the benchmark: each subtask weighs by its full
    size, however many of its documents were asked, so that a limit does not change what is
    estimated. With all documents asked, value and standard error are those that lm-eval prints for
    a group. Where the sizes are not known, subtasks weigh by the documents asked.

    A cell that lacks a subtask which another cell has gets no score of the benchmark: a mean over
    fewer subtasks would be another quantity. So it is with a metric that some subtasks lack.
    Other tasks stay as they are, and so do subtasks without a common primary metric.

    Args:
        results: scores by leaf task.
        benchmarks: name of a benchmark -> the groups that are it; a leaf task belongs to a
            group when it bears its name or begins with it and an underscore. Other tasks
            belong to the ``group`` that their scores name.
    """
    home = _homes(results.scores, benchmarks or {})
    if not home:
        return results
    sizes = _sizes(results.scores)
    inside = results.scores["task"].isin(list(home))
    columns = list(results.scores.columns)
    parts = results.scores[inside].assign(size=lambda rows: rows["task"].map(sizes))
    whole = pd.DataFrame(list(_pool(parts, home)), columns=columns)
    scores = pd.concat([results.scores[~inside].astype(object), whole.astype(object)])
    return replace(results, scores=scores, documents=_documents(results, home, sizes))


def _sizes(scores: pd.DataFrame) -> dict[str, float]:
    """Task -> all its documents, where one cell's score says it: it is the same for all."""
    known = scores.dropna(subset="size").groupby("task")["size"].max()
    return {str(task): float(size) for task, size in known.items()}


def _homes(scores: pd.DataFrame, benchmarks: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Task -> its benchmark, for those benchmarks whose subtasks have one primary metric."""
    pairs = scores[["task", "group"]].drop_duplicates().itertuples(index=False, name=None)
    home = {task: _benchmark(task, benchmarks) or group for task, group in pairs}
    primary = scores[scores["primary"].astype(bool)]
    kinds = primary.groupby(primary["task"].map(home))["metric"].nunique()
    return {task: name for task, name in home.items() if name and kinds.get(name) == 1}


def _benchmark(task: str, benchmarks: Mapping[str, Sequence[str]]) -> str:
    for name, groups in benchmarks.items():
        if any(task == group or task.startswith(f"{group}_") for group in groups):
            return name
    return ""


def _pool(scores: pd.DataFrame, home: Mapping[str, str]) -> Iterator[Row]:
    scores = scores.assign(benchmark=scores["task"].map(home))
    subtasks = {str(name): set(rows["task"]) for name, rows in scores.groupby("benchmark")}
    for (name, _, cell), part in scores.groupby(["benchmark", "metric", "cell"], sort=False):
        if set(part["task"]) == subtasks[str(name)]:
            yield _whole(str(name), cell, part)


def _whole(name: str, cell: Hashable, part: pd.DataFrame) -> Row:
    """One metric of a benchmark in a cell.

    Counts that are unknown make it a mean over subtasks. Answers without anything to score are
    counted where each subtask counts them.
    """
    n, size = part["n"].to_numpy(float), part["size"].to_numpy(float)
    known = [one for one in (size, n) if np.isfinite(one).all()]
    weight = known[0] if known else np.ones(len(part))
    value = float(np.average(part["value"].to_numpy(float), weights=weight))
    first = part.iloc[0]
    return {
        **{key: first[key] for key in ("metric", "higher_is_better", "primary")},
        "cell": cell,
        "task": name,
        "group": "",
        "value": value,
        "stderr": _stderr(part["stderr"].to_numpy(float), n, weight),
        "n": float(n.sum()),
        "size": float(size.sum()),
        "parts": float(len(part)),
        "chance": float(np.average(part["chance"].to_numpy(float), weights=weight)),
        "unextracted": float(part["unextracted"].to_numpy(float).sum()),
        "version": ", ".join(sorted(set(part["version"]))),
        "collapsed": bool(part["collapsed"].all()),
        "stopped": bool(part["stopped"].any()),
        **{name: ", ".join(sorted(set(part[name]))) for name in ("backend", "dtype", "asked")},
        "looks": looks.said(limit for text in part["looks"] for limit in looks.read(text)),
        "unlike": "",
        "common": "",
    }


def _stderr(stderr: Array, n: Array, weight: Array) -> float:
    """Of a mean over subtasks: sqrt(sum (w/W)^2 s^2 (n-1)/n) sqrt(N / (N-k)) for k of them.

    Where they weigh by what was asked, that is lm-eval's sqrt(sum((n-1) n s^2) / (N-k) / N).
    """
    total, count = n.sum(), len(n)
    if not total > count:
        return float("nan")
    own = ((weight / weight.sum() * stderr) ** 2 * (n - 1) / n).sum()
    return float(np.sqrt(own * total / (total - count)))


def _documents(results: Results, home: Mapping[str, str], sizes: Mapping[str, float]) -> Documents:
    """The documents of the subtasks together, each naming the subtask that it is from."""
    parts: dict[tuple[str, str], dict[str, One]] = {}
    for (cell, task), source in results.documents.sources.items():
        found = parts.setdefault((cell, home.get(task, task)), {})
        found.update(source if isinstance(source, Mapping) else {task: source})
    return Documents(
        sources={
            (cell, name): found[name] if list(found) == [name] else found
            for (cell, name), found in parts.items()
        },
        sizes=sizes,
    )
