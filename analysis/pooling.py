"""Puts the parts of a benchmark together: its subtasks become one task, as lm-eval's groups do."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.documents import IDENTITY, SUBTASK, Documents
from analysis.results import Results

Row = dict[str, Any]

# The benchmarks of arXiv:2505.07289 by the names of lm-eval's groups.
LABORDE = {
    "MMLU-Pro": ("mmlu_pro",),
    "BBH": ("bbh_cot_fewshot", "bbh"),
    "MATH": ("minerva_math", "hendrycks_math"),
}


def pooled(results: Results, benchmarks: Mapping[str, Sequence[str]] = LABORDE) -> Results:
    """The same cells with one score per benchmark in place of those of its subtasks.

    The value is the mean over all documents, its standard error
    sqrt(sum((n-1) n s^2) / (N-k) / N) over the k subtasks, as lm-eval pools a group. A cell
    that lacks a subtask which another cell has gets no score of the benchmark: a mean over
    fewer subtasks would be another quantity. Other tasks stay as they are.

    Args:
        results: scores by leaf task.
        benchmarks: name of a benchmark -> the groups that are it; a leaf task belongs to a
            group when it bears its name or begins with it and an underscore.
    """
    tasks = list(dict.fromkeys(results.scores["task"]))
    home = {task: name for task in tasks if (name := _benchmark(task, benchmarks))}
    if not home:
        return results
    inside = results.scores["task"].isin(list(home))
    primary = results.scores[inside & results.scores["primary"].astype(bool)]
    whole = pd.DataFrame(list(_pool(primary, home)), columns=list(results.scores.columns))
    scores = pd.concat([results.scores[~inside].astype(object), whole.astype(object)])
    return Results(cells=results.cells, scores=scores, documents=_documents(results, home))


def _benchmark(task: str, benchmarks: Mapping[str, Sequence[str]]) -> str | None:
    for name, groups in benchmarks.items():
        if any(task == group or task.startswith(f"{group}_") for group in groups):
            return name
    return None


def _pool(scores: pd.DataFrame, home: Mapping[str, str]) -> Iterator[Row]:
    scores = scores.assign(benchmark=scores["task"].map(home))
    for name, rows in scores.groupby("benchmark", sort=False):
        subtasks = set(rows["task"])
        for cell, part in rows.groupby("cell", sort=False):
            if set(part["task"]) == subtasks:
                yield _whole(str(name), cell, part)


def _whole(name: str, cell: Hashable, part: pd.DataFrame) -> Row:
    """One benchmark of one cell; sizes that are unknown make the mean one over subtasks."""
    n = part["n"].to_numpy(float)
    weight = n if np.isfinite(n).all() else np.ones(len(part))
    value = float(np.average(part["value"].to_numpy(float), weights=weight))
    first = part.iloc[0]
    return {
        **{key: first[key] for key in ("metric", "higher_is_better", "primary")},
        "cell": cell, "task": name, "value": value,
        "stderr": _stderr(part["stderr"].to_numpy(float), n), "n": float(n.sum()),
        "chance": float(np.average(part["chance"].to_numpy(float), weights=weight)),
        "version": ", ".join(sorted(set(part["version"]))),
        "collapsed": bool(part["collapsed"].all()),
        "stopped": bool(part["stopped"].any()),
        **{name: ", ".join(sorted(set(part[name]))) for name in ("backend", "dtype")},
    }  # fmt: skip


def _stderr(stderr: np.ndarray[Any, Any], n: np.ndarray[Any, Any]) -> float:
    total = n.sum()
    if total <= len(n):
        return float("nan")
    return float(np.sqrt(((n - 1) * n * stderr**2).sum() / (total - len(n)) / total))


def _documents(results: Results, home: Mapping[str, str]) -> Documents:
    """The documents of the subtasks together, each naming the subtask that it is from."""
    parts: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for cell, task in results.documents:
        parts.setdefault((cell, home.get(task, task)), []).append((cell, task))
    tables: dict[tuple[str, str], Any] = {}
    for (cell, name), keys in parts.items():
        if keys == [(cell, name)]:
            tables[cell, name] = results.documents.sources[cell, name]
        else:
            tables[cell, name] = pd.concat([_part(results.documents, key) for key in keys])
    return Documents(tables)


def _part(documents: Documents, key: tuple[str, str]) -> pd.DataFrame:
    table = documents.table(*key)
    assert table is not None
    numbers = table.select_dtypes("number").columns.difference(list(IDENTITY))
    ids = [f"{key[1]}/{number}" for number in table["doc_id"]]
    kept = table[[*IDENTITY[1:], *numbers]]
    return kept.assign(**{"doc_id": ids, SUBTASK: key[1]})
