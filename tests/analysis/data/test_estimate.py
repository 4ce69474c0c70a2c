"""The estimate of SrCr_j from the two single methods: its interval covers what it says."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.comparison.summary import summarise
from analysis.data.panel import Panel, panels
from analysis.data.results import Results
from tests.analysis.simulated import answers, covers, redrawn, results

LEVELS = (0.7, 0.6, 0.55, 0.5)  # dense, pruned, quantized, joint
TRUTH = 0.25 * 0.6 * 0.55 / 0.7**2  # weight_j(25 %, 4 bit) is 1/4
RUNS, DOCUMENTS = 250, 250


def model(documents: bool) -> Panel:
    """Dense, 25 %, 4 bit and 25 % + 4 bit on one task."""
    made = results({"t": answers(np.random.default_rng(0), LEVELS, DOCUMENTS)}, documents=documents)
    cells = made.cells.assign(
        sparsity=[0, 0.25, 0, 0.25],
        pattern=["", "unstructured", "", "unstructured"],
        bits=[16, 16, 4, 4],
        prune_method=["", "sparsegpt", "", "sparsegpt"],
        quant_method=["", "", "gptq", "gptq"],
        mask=["none", "none", "none", "keep"],
    )
    (panel,) = panels(Results(cells=cells, scores=made.scores, documents=made.documents))
    return panel


def simulated(documents: bool) -> tuple[list[bool], list[float], list[float]]:
    """(interval covers the truth, estimates, their standard errors) of many evaluations."""
    rng, base = np.random.default_rng(11), model(documents)
    # The tables are in canonical order, so the answers are put in that order too.
    order = [LEVELS[int(key[1:])] for key in base.cells["cell"]]
    joint = int(np.flatnonzero(base.cells["cell"] == "c3")[0])
    hits, values, errors = [], [], []
    for _ in range(RUNS):
        panel = redrawn(base, {"t": answers(rng, order, DOCUMENTS)})
        row = summarise([panel]).iloc[joint]
        value, stderr = row["srcr_estimate"], row["srcr_estimate_stderr"]
        hits.append(abs(value - TRUTH) < 1.96 * stderr)
        values.append(value)
        errors.append(stderr)
    return hits, values, errors


def test_with_documents_the_interval_covers_at_its_level() -> None:
    hits, values, errors = simulated(documents=True)
    assert covers(0.95, hits)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.12)


def test_without_documents_the_interval_is_cautious() -> None:
    """The cells answer the same documents: taken as independent, the error is too large."""
    hits, values, errors = simulated(documents=False)
    assert np.mean(hits) > 0.98
    assert np.mean(errors) > 1.2 * np.std(values)
