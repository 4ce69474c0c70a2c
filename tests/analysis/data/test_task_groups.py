"""What the mean of a group of subtasks is over, whatever was asked of each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from analysis.data.documents import Documents
from analysis.data.paired import Sample
from analysis.data.panel import panels
from analysis.data.results import Results
from analysis.data.task_groups import pooled
from analysis.report.tables import scores_table
from tests.analysis.simulated import answers

SIZES = {"easy": 1200, "hard": 150}
LIMIT = 150
Rates = Mapping[str, tuple[float, float, float]]
RATES: Rates = {"easy": (0.9, 0.8, 0.7), "hard": (0.8, 0.3, 0.95)}
"""Of the dense cell and two others."""
EQUAL: Rates = {"easy": (0.9, 0.8, 0.7), "hard": (0.8, 0.2, 1.0)}
"""The two others are equal over all documents (0.8 8/9 + 0.2 / 9 = 0.7 8/9 + 1 / 9), and in no
subtask."""


def benchmark(rng: np.random.Generator, limit: int | None, *, sizes: bool = True) -> Results:
    """Three cells on a group of two subtasks, each asked its first `limit` documents."""
    cells = [
        {
            "cell": f"c{i}",
            "label": f"c{i}",
            "model": "m",
            "prune_method": "",
            "sparsity": 0,
            "pattern": "",
            "quant_method": f"m{i}" if i else "",
            "bits": 4 if i else 16,
            "mask": "none",
            "calibration_seed": None,
            "status": "done",
            "reason": "",
        }
        for i in range(3)
    ]
    scores, tables = [], {}
    for task, size in SIZES.items():
        given = answers(rng, RATES[task], size)[:, :limit]
        for i, row in enumerate(given):
            n = len(row)
            scores.append(
                {
                    "cell": f"c{i}",
                    "task": task,
                    "group": "both",
                    "metric": "acc",
                    "value": row.mean(),
                    "stderr": row.std(ddof=1) / np.sqrt(n),
                    "n": n,
                    "size": size if sizes else None,
                    "higher_is_better": True,
                    "primary": True,
                }
            )
            tables[f"c{i}", task] = pd.DataFrame(
                {
                    "doc_id": np.arange(n),
                    "doc_hash": [f"{task}{j}" for j in range(n)],
                    "target_hash": "t",
                    "acc": row,
                }
            )
    return pooled(
        Results(cells=pd.DataFrame(cells), scores=pd.DataFrame(scores), documents=Documents(tables))
    )


def test_a_limit_does_not_change_what_is_estimated() -> None:
    rng = np.random.default_rng(1)
    whole, limited = (benchmark(rng, n).scores for n in (None, LIMIT))
    plain = benchmark(rng, LIMIT, sizes=False).scores
    truth = [
        sum(RATES[task][i] * size for task, size in SIZES.items()) / sum(SIZES.values())
        for i in range(3)
    ]
    for scores, off in ((whole, 3), (limited, 3)):
        error = scores["stderr"].to_numpy()
        assert (np.abs(scores["value"] - truth) <= off * error).all()
    assert np.abs(plain["value"] - truth).max() > 5 * plain["stderr"].max()  # another quantity
    assert list(limited["n"]) == [2 * LIMIT] * 3
    assert list(limited["size"]) == [sum(SIZES.values())] * 3


def test_with_all_documents_asked_the_digits_are_lm_evals() -> None:
    rng = np.random.default_rng(2)
    whole, asked = benchmark(rng, None), benchmark(np.random.default_rng(2), None, sizes=False)
    for column in ("value", "stderr"):
        assert whole.scores[column].to_numpy() == pytest.approx(
            asked.scores[column].to_numpy(), rel=1e-14
        )
    n = np.array([1200, 150])
    part = benchmark(np.random.default_rng(2), None)
    one = part.documents.table("c1", "both")
    assert one is not None
    each = one.groupby("subtask")["acc"].agg(["mean", "std", "size"])
    stderr = each["std"] / np.sqrt(each["size"])
    pooled_by_hand = np.sqrt(((n - 1) * n * stderr**2).sum() / (n.sum() - 2) / n.sum())
    assert part.scores["stderr"].iloc[1] == pytest.approx(pooled_by_hand, rel=1e-12)
    assert panels(part)[0].samples[0].share == pytest.approx(np.ones(n.sum()))


def differences(runs: int, *, sizes: bool) -> tuple[np.ndarray, np.ndarray]:
    """Differences of two cells that are equal over the benchmark, and their variances."""
    rng, found = np.random.default_rng(3), []
    strata = np.repeat([0, 1], LIMIT)
    share = np.repeat([2 * size / sum(SIZES.values()) for size in SIZES.values()], LIMIT)
    share = share if sizes else np.ones(2 * LIMIT)
    for _ in range(runs):
        right = np.hstack([answers(rng, EQUAL[task][1:], LIMIT) for task in SIZES])
        both = Sample(
            shared=np.array([True, True]),
            numerator=right,
            weight=np.ones_like(right),
            strata=strata,
            share=share,
            position=np.tile(np.arange(float(LIMIT)), 2),
            link="mean",
        )
        sigma = both.covariance([0, 1], np.zeros(2))
        value = (share * right).mean(axis=1)
        found.append((value[0] - value[1], sigma[0, 0] + sigma[1, 1] - 2 * sigma[0, 1]))
    difference, variance = np.array(found).T
    return difference, variance


def test_equal_cells_are_seldom_told_apart_under_a_limit_for_each_subtask() -> None:
    told = {}
    for sizes in (True, False):
        difference, variance = differences(500, sizes=sizes)
        told[sizes] = float((np.abs(difference) > 1.96 * np.sqrt(variance)).mean())
    assert told[True] <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)
    assert told[False] > 0.9


def test_paired_errors_are_those_of_repeated_samples() -> None:
    difference, variance = differences(500, sizes=True)
    assert np.var(difference) == pytest.approx(np.mean(variance), rel=0.2)
    assert np.mean(variance) >= 0.95 * np.var(difference)


def test_a_report_says_what_a_group_is_a_mean_over() -> None:
    rng = np.random.default_rng(5)
    (said,) = scores_table(panels(benchmark(rng, LIMIT))).notes
    assert said == "both: each subtask weighs by all its documents, however many were asked."
    (said,) = scores_table(panels(benchmark(rng, LIMIT, sizes=False))).notes
    assert "by the documents asked" in said
