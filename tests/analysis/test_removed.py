"""Cells whose weights are not there: sizes without a mask, curves over what is removed."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.measured_curves import series
from analysis.panel import panels
from analysis.rates import sizes
from analysis.results import Results


def results() -> Results:
    kinds = [("", "", 0.0), *(("asvd", "low-rank", s / 10) for s in range(1, 7))]
    kinds += [("shortgpt", "structured", 0.2), ("sparsegpt", "unstructured", 0.2)]
    cells = pd.DataFrame([
        {
            "cell": f"c{i}-{bits}", "label": f"{prune} {s} {bits}", "model": "m",
            "prune_method": prune, "sparsity": s, "pattern": pattern,
            "quant_method": "rtn" if bits < 16 else "", "bits": bits, "group_size": 64,
            "mask": "keep" if prune == "sparsegpt" and bits < 16 else "none",
            "calibration_seed": 0, "status": "done", "reason": "", "achieved_sparsity": s,
            "linear_weights": 1000, "total_weights": 1200,
        }
        for i, (prune, pattern, s) in enumerate(kinds) for bits in (16, 8)
    ])  # fmt: skip
    scores = pd.DataFrame([
        {
            "cell": row["cell"], "task": "text", "metric": "word_perplexity", "primary": True,
            "value": 10 + 40 * row["sparsity"] + (16 - row["bits"]), "stderr": 0.1,
            "higher_is_better": False,
        }
        for row in cells.to_dict("records")
    ])  # fmt: skip
    return Results(cells=cells, scores=scores)


def test_what_is_not_there_needs_no_mask() -> None:
    (panel,) = panels(results())
    table = sizes(panel).set_index(["pattern", "sparsity", "bits"])
    bits = ["bits_served", "bits_bitmask", "bits_best_mask"]
    for pattern in ("low-rank", "structured"):
        assert (table.loc[(pattern, 0.2, 16), bits] == 16 * 0.8).all()
        # a scale of 16 bit for 64 weights that are left
        assert list(table.loc[(pattern, 0.2, 8), bits]) == pytest.approx([8.25 * 0.8] * 3)
    zeros = table.loc[("unstructured", 0.2, 8)]
    assert zeros["bits_served"] == 8.25
    assert zeros["bits_bitmask"] == pytest.approx(8 * 0.8 + 1 + 0.25)
    assert table.loc[("low-rank", 0.2, 16), "share_served"] == pytest.approx(1 - 0.2 * 1000 / 1200)


def test_removed_parameters_have_curves() -> None:
    (panel,) = panels(results())
    named = {name: rates for name, axis, _, rates in series(panel) if axis == "sparsity"}
    assert named["asvd"] == named["asvd + rtn 8bit"] == pytest.approx([s / 10 for s in range(1, 7)])
    assert named["shortgpt"] == [0.2]
