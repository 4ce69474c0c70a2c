"""Results to analyse: the paper's published scores, and small made-up sweeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from analysis.data.results import Results
from analysis.published.reference import laborde2025


@pytest.fixture(scope="session")
def published() -> Results:
    return laborde2025()


CHANCE = {"arithmetic": 0.25, "facts": 0.25, "grammar": 0.5}
SMALL_SWEEP = {
    # label: (sparsity, pattern, bits, accuracies, perplexity, bytes)
    "dense": (0, "", 16, (0.62, 0.71, 0.83), 21.3, 269e6),
    "25%": (0.25, "unstructured", 16, (0.60, 0.70, 0.82), 22.9, 269e6),
    "2:8": (0.25, "2:8", 16, (0.57, 0.69, 0.81), 24.0, 269e6),
    "4bit": (0, "", 4, (0.55, 0.66, 0.80), 27.5, 124e6),
    "3bit": (0, "", 3, (0.31, 0.40, 0.66), 88.0, 111e6),
    "25% + 4bit": (0.25, "unstructured", 4, (0.52, 0.63, 0.79), 30.1, 124e6),
    "2:8 + 4bit": (0.25, "2:8", 4, (0.47, 0.61, 0.78), 33.6, 124e6),
    "25% + 4bit (mask ignored)": (0.25, "unstructured", 4, (0.53, 0.64, 0.79), 29.2, 124e6),
    "33.333% + 3bit": (1 / 3, "unstructured", 3, (0.26, 0.27, 0.55), 410.0, 111e6),
    "2bit": (0, "", 2, (0.0, 0.24, 0.5), 1.2e7, 98e6),
}


def tables(model: str = "SmolLM2-135M", n: int = 300) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A made-up sweep of ten cells on three accuracy tasks and one perplexity."""
    cells, scores = [], []
    for name, (p, pattern, bits, accuracies, perplexity, size) in SMALL_SWEEP.items():
        joint, ignored = bool(p) and bits < 16, "ignored" in name
        key = f"{model}/{name}"
        cells.append(
            {
                "cell": key,
                "label": name,
                "model": model,
                "prune_method": "sparsegpt" if p else "",
                "sparsity": p,
                "pattern": pattern,
                "quant_method": "gptq" if bits < 16 else "",
                "bits": bits,
                "mask": ("ignore" if ignored else "keep") if joint else "none",
                "calibration_seed": None if name == "dense" else 0,
                "status": "done",
                "reason": "",
                "achieved_sparsity": 0.019 if ignored else p,
                "containment": 0.06 if ignored else 1,
                "nm_valid": True if ":" in pattern else None,
                "bytes": size,
                "bits_per_weight": bits + (0.25 if bits < 16 else 0),
                "collapsed": perplexity > 1e6,
                "linear_weights": 106e6,
                "total_weights": 134.5e6,
                "device": "cpu",
            }
        )
        for (task, chance), value in zip(CHANCE.items(), accuracies, strict=True):
            scores.append(
                {
                    "cell": key,
                    "task": task,
                    "metric": "acc",
                    "value": value,
                    "stderr": (value * (1 - value) / n) ** 0.5,
                    "n": n,
                    "higher_is_better": True,
                    "chance": chance,
                    "primary": True,
                    "version": "1",
                }
            )
        scores.append(
            {
                "cell": key,
                "task": "topics",
                "metric": "word_perplexity",
                "value": perplexity,
                "stderr": perplexity * 0.02,
                "n": 40,
                "higher_is_better": False,
                "chance": None,
                "primary": True,
                "version": "1",
            }
        )
    return pd.DataFrame(cells), pd.DataFrame(scores)


Make = Callable[..., Results]


@pytest.fixture
def make() -> Make:
    """Builds the small sweep; `cells=` and `scores=` take functions that change the tables."""

    def build(*, cells: Any = None, scores: Any = None, **options: Any) -> Results:
        one, two = tables(**options)
        one = one if cells is None else cells(one)
        two = two if scores is None else scores(two)
        return Results(cells=one, scores=two[two["cell"].isin(one["cell"])])

    return build
