"""Made-up evaluations whose truth is known: cells that answer the same documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from analysis.data.documents import Documents
from analysis.data.paired import Sample
from analysis.data.panel import Panel, panels
from analysis.data.results import Results


def answers(
    rng: np.random.Generator, levels: Sequence[float], n: int, alike: float = 0.9
) -> np.ndarray:
    """(cells, n) right or wrong; `alike` is the share of skill that a document decides."""
    common, own = rng.normal(size=n), rng.normal(size=(len(levels), n))
    hard = np.sqrt(alike) * common + np.sqrt(1 - alike) * own
    return (hard < stats.norm.ppf(np.array(levels))[:, None]).astype(float)


def likelihoods(rng: np.random.Generator, losses: Sequence[float], n: int) -> tuple:
    """(cells, n) log-likelihoods and (n,) words, for perplexities of exp(loss)."""
    words = rng.integers(20, 200, size=n).astype(float)
    common = rng.normal(0, 0.3, size=n)
    own = rng.normal(0, 0.05, size=(len(losses), n))
    return -(np.array(losses)[:, None] + common + own) * words, words


def results(
    tasks: dict[str, np.ndarray | tuple[np.ndarray, np.ndarray]],
    *,
    documents: bool = True,
    subtasks: dict[str, Sequence[str]] | None = None,
    seeds: Sequence[int] | None = None,
) -> Results:
    """Cells c0 (dense), c1, ... of one model, all others at one TCr, from their documents."""
    cells, scores, tables = [], [], {}
    count = _cells(tasks)
    for i in range(count):
        bits, method = (16, "") if i == 0 else (4, f"m{i}" if seeds is None else "gptq")
        cells.append(
            {
                "cell": f"c{i}",
                "label": f"c{i}" if seeds is None else "4bit",
                "model": "m",
                "prune_method": "",
                "sparsity": 0,
                "pattern": "",
                "quant_method": method,
                "bits": bits,
                "mask": "none",
                "status": "done",
                "reason": "",
                "calibration_seed": None if i == 0 else 0 if seeds is None else seeds[i - 1],
            }
        )
        for task, data in tasks.items():
            value, stderr, columns = _scored(data, i)
            metric = "word_perplexity" if isinstance(data, tuple) else "acc"
            scores.append(
                {
                    "cell": f"c{i}",
                    "task": task,
                    "metric": metric,
                    "value": value,
                    "stderr": stderr,
                    "n": len(columns[0]),
                    "primary": True,
                    "higher_is_better": metric == "acc",
                }
            )
            names = [metric] if metric == "acc" else [f"{metric}.sum", f"{metric}.weight"]
            n = len(columns[0])
            table = pd.DataFrame(dict(zip(names, columns, strict=True)))
            table = table.assign(
                doc_id=np.arange(n),
                doc_hash=[f"d{j}" for j in range(n)],
                target_hash="t",
            )
            if subtasks:
                table["subtask"] = list(subtasks[task])
            tables[f"c{i}", task] = table
    return Results(
        cells=pd.DataFrame(cells),
        scores=pd.DataFrame(scores),
        documents=Documents(tables if documents else {}),
    )


def panel(tasks: dict, **options) -> Panel:
    """The one panel of `results`."""
    return panels(results(tasks, **options))[0]


def redrawn(model: Panel, tasks: dict) -> Panel:
    """The same cells and tasks with other documents; without the cost of building tables."""
    value, stderr = np.empty_like(model.value), np.empty_like(model.stderr)
    samples = []
    for column, task in enumerate(model.tasks):
        data = tasks[task]
        for i in range(len(model.cells)):
            value[i, column], stderr[i, column], _ = _scored(data, i)
        sums, words = data if isinstance(data, tuple) else (data, np.ones(data.shape[1]))
        samples.append(
            Sample(
                shared=np.ones(len(sums), dtype=bool),
                numerator=sums,
                weight=np.tile(words, (len(sums), 1)),
                strata=np.zeros(len(words), dtype=int),
                share=np.ones(len(words)),
                position=np.arange(len(words), dtype=float),
                link="perplexity" if isinstance(data, tuple) else "mean",
            )
        )
    fresh = replace(model, value=value, stderr=stderr)
    fresh.__dict__["samples"] = tuple(samples) if model.documents else (None,) * len(samples)
    return fresh


def _cells(tasks: dict) -> int:
    data = next(iter(tasks.values()))
    return len(data[0] if isinstance(data, tuple) else data)


def _scored(data, i: int) -> tuple[float, float, list[np.ndarray]]:
    if not isinstance(data, tuple):
        n = data.shape[1]
        value = data[i].mean()
        return value, float(np.sqrt(value * (1 - value) / (n - 1))), [data[i]]
    sums, words = data
    rate = sums[i].sum() / words.sum()
    residual = sums[i] - rate * words
    value = float(np.exp(min(-rate, 709.0)))
    return value, value * float(np.sqrt((residual**2).sum()) / words.sum()), [sums[i], words]


def covers(rate: float, hits: Sequence[bool], slack: float = 3.0) -> bool:
    """Whether simulated coverage agrees with `rate` up to `slack` of its standard errors."""
    n = len(hits)
    return abs(float(np.mean(hits)) - rate) <= slack * float(np.sqrt(rate * (1 - rate) / n))
